"""What a person asks for when they start a server: read from a form, a query or a REST body, and checked once.

Pure. The ways in differ in shape only (a form has lists of texts, a body has JSON), so both become the same plain
mapping, and :func:`check` refuses what is wrong with it in a sentence. Nothing that a person wrote reaches a template
of KubeSpawner, which formats braces: it goes into the pod's manifest as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import names, quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles import Catalogue, Choice, Hardware, Limits, Use, choose
from jupyterlab_kf_hub import volumes
from jupyterlab_kf_hub.volumes import NEW, NOTHING, SIZE, Shelf, Volume

KEYS: Final = (
    "hardware", "cpu", "memory", "gpus", "accelerator", "image", "shared_memory", "environment", "workspace",
    "workspace_size", "volumes",
)  # fmt: skip
"""The names of options. ``profile`` is not among them: KubeSpawner would take it for one of its own list."""
_OF_HARDWARE: Final = re.compile(r"(?P<slug>[a-z0-9-]+)\.(?P<key>cpu|memory|gpus|accelerator|image)")
"""In a form each profile has fields of its own; those of the others do not count."""
_OF_VOLUME: Final = re.compile(r"volume_(?P<number>\d{1,3})_(?P<key>claim|name|size|path|mode)")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_RESERVED: Final = ("JUPYTERHUB_", "JPY_", "KUBERNETES_", "KF_", "LD_")
_EXACT: Final = frozenset({"HOME", "PATH", "PYTHONPATH", "PYTHONHOME"})
_MOST_VARIABLES: Final = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """A checked wish: the hardware, environment of one's own, and volumes.

    Attributes:
        workspace: another one than the home; None for the home.
    """

    hardware: Hardware
    environment: Mapping[str, str] = field(default_factory=dict)
    workspace: Volume | None = None
    volumes: tuple[Volume, ...] = ()

    def new(self) -> list[Volume]:
        """The volumes that are to be made."""
        return [one for one in (self.workspace, *self.volumes) if one is not None and one.size]


def from_form(form: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
    """The options of a posted form or a query; empty fields are left out. Checks nothing.

    A form has more fields than there are options: amounts for each profile (``gpu.cpu``), and a row of fields for each
    volume (``volume_1_claim``, ``_name``, ``_size``, ``_path``, ``_mode``).
    """
    said = {key: _last(values) for key, values in form.items() if not key.startswith("_")}
    options: dict[str, Any] = {}
    rows: dict[int, dict[str, str]] = {}
    for key, text in said.items():
        if own := _OF_HARDWARE.fullmatch(key):
            if own["slug"] == said.get("hardware") and text and not said.get(own["key"]):
                # The form's number is of GiB.
                bare = own["key"] == "memory" and _NUMBER.fullmatch(text)
                options[own["key"]] = f"{text}Gi" if bare else text
        elif row := _OF_VOLUME.fullmatch(key):
            rows.setdefault(int(row["number"]), {})[row["key"]] = text
        elif text and key != "workspace_name":
            options[key] = text
    if "workspace_name" in said:
        options |= _workspace(options.pop("workspace", ""), options.pop("workspace_size", ""), said["workspace_name"])
    if found := [one for _, row in sorted(rows.items()) if (one := _volume(row))]:
        options["volumes"] = found
    return options


def _last(values: Iterable[Any]) -> str:
    texts = [value for value in values if isinstance(value, str)]
    return texts[-1].strip() if texts else ""


def _workspace(chosen: str, size: str, name: str) -> dict[str, str]:
    """The form's three fields: name and size count where a new one was chosen, and not else."""
    if chosen == NEW:
        return {"workspace": name or NEW, "workspace_size": size or SIZE}
    return {"workspace": chosen} if chosen else {}


def _volume(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of fields as a volume; empty for a row that was left alone."""
    claim, path, mode = row.get("claim", ""), row.get("path", ""), row.get("mode", "")
    if not claim and not path:
        return {}
    one: dict[str, Any] = {"claim": claim}
    if claim == NEW:
        one = {"claim": row.get("name") or NEW, "size": row.get("size") or SIZE}
    elif row.get("size") and "name" not in row:  # a query's: there is no list to choose from
        one["size"] = row["size"]
    if path:
        one["path"] = path
    if mode not in ("", "rw"):
        one["read_only"] = True if mode == "ro" else mode
    return one


def check(
    options: Mapping[str, Any],
    catalogue: Catalogue,
    groups: Iterable[str],
    others: Iterable[Mapping[str, str]] = (),
    held: Shelf = NOTHING,
) -> Wish:
    """The wish, if this person may have it.

    Args:
        options: as they came, from whichever way in.
        catalogue: the profiles.
        groups: the person's.
        others: what their servers that run already were granted.
        held: their volumes.

    Raises:
        UsageError: something is wrong or not allowed; one sentence for the person.
    """
    known = list(groups)
    hardware = chosen_hardware(options, catalogue, known)
    limits = catalogue.limits_of(known)
    within(hardware, others, limits)
    workspace = volumes.workspace(_text(options, "workspace"), _text(options, "workspace_size"), held)
    places = [one.mount_path for one in hardware.profile.volumes]
    home = workspace.claim if workspace else held.home
    data = volumes.data(options.get("volumes"), held, home=home, places=places)
    wish = Wish(hardware, environment(options.get("environment")), workspace, data)
    volumes.within(wish.new(), held, limits.storage)
    return wish


def chosen_hardware(options: Mapping[str, Any], catalogue: Catalogue, groups: Iterable[str]) -> Hardware:
    """The hardware of a wish.

    Raises:
        UsageError: there is none such for this person, or it cannot be as it is wished; or an option is unknown.
    """
    known = list(groups)
    if unknown := sorted(str(key) for key in options if key not in KEYS):
        raise UsageError(f"there is no option {unknown[0]!r}; the options are {', '.join(KEYS)}")
    slug = _text(options, "hardware")
    default = catalogue.default(Use.SERVER, known)
    if not slug and default is None:
        raise UsageError("there is no hardware for servers that you may use; ask who runs this hub")
    profile = catalogue.usable(slug or default.slug, Use.SERVER, known)  # type: ignore[union-attr]  # checked above
    choice = Choice(
        cpu=_text(options, "cpu"),
        memory=_text(options, "memory"),
        gpus=_whole(options, "gpus"),
        accelerator=_text(options, "accelerator"),
        image=_text(options, "image"),
        shared_memory=_text(options, "shared_memory"),
    )
    return choose(profile, choice, any_image=catalogue.limits_of(known).own_image)


def granted(hardware: Hardware) -> dict[str, str]:
    """What counts of a server against its person's limits: resource to the most that it may take."""
    return {**hardware.requests, **hardware.limits}


def within(hardware: Hardware, others: Iterable[Mapping[str, str]], limits: Limits) -> None:
    """Refuse what would be more than a person may have at a time.

    Args:
        hardware: what is asked for.
        others: what the person's other servers were :func:`granted`.
        limits: the person's.

    Raises:
        UsageError: says which limit, and what their servers have already.
    """
    running = list(others)
    if limits.servers is not None and len(running) >= limits.servers:
        raise UsageError(f"you may run {limits.servers} servers at a time; stop one first")
    every = [_summed(one) for one in (*running, granted(hardware))]
    for resource, most in (("cpu", limits.cpu), ("memory", limits.memory), ("gpus", limits.gpus)):
        if most is None:
            continue
        total = sum((one.get(resource, Decimal(0)) for one in every), Decimal(0))
        if total > most:
            name = "nvidia.com/gpu" if resource == "gpus" else resource
            have = quantities.in_words(name, total - every[-1].get(resource, Decimal(0)))
            allowed = quantities.in_words(name, Decimal(most))
            rest = f"; your other servers have {have}" if running else ""
            raise UsageError(f"you may have {allowed} at a time, and this is more{rest}")


def _summed(has: Mapping[str, str]) -> dict[str, Decimal]:
    amounts = {name: quantities.parse(value) for name, value in has.items()}
    gpus = sum((value for name, value in amounts.items() if "/" in name), Decimal(0))
    return {"cpu": amounts.get("cpu", Decimal(0)), "memory": amounts.get("memory", Decimal(0)), "gpus": gpus}


def environment(said: Any) -> dict[str, str]:
    """Variables, from lines of ``NAME=VALUE`` or from a mapping of texts.

    Raises:
        UsageError: a line has no name, a name cannot be one or is the hub's own.
    """
    if said is None or said == "":
        return {}
    if isinstance(said, str):
        pairs = [_pair(line.strip()) for line in said.splitlines() if line.strip()]
    elif isinstance(said, Mapping) and all(isinstance(v, str) and isinstance(k, str) for k, v in said.items()):
        pairs = list(said.items())
    else:
        raise UsageError("environment is lines of NAME=VALUE, or a mapping of names to texts")
    if len(pairs) > _MOST_VARIABLES:
        raise UsageError(f"environment has {len(pairs)} variables; {_MOST_VARIABLES} are allowed")
    for name, value in pairs:
        names.check_env_name(name)
        if name in _EXACT or name.startswith(_RESERVED):
            raise UsageError(f"environment: {name} is set by the hub")
        if "\0" in value:
            raise UsageError(f"environment: {name} has a NUL character")
    return dict(pairs)


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise UsageError(f"environment: {line!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def _text(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{key} is one text, not {type(value).__name__}")
    return str(value).strip()


def _whole(options: Mapping[str, Any], key: str) -> int | None:
    text = _text(options, key)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{key} is a whole number, not {text!r}") from None
