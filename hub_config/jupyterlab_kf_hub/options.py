"""What a person asks for when they start a server: read from a form, a query or a REST body, and checked once.

Pure. The ways in differ in shape only (a form has lists of texts, a body has JSON), so both become the same plain
mapping, and :func:`check` refuses what is wrong with it in a sentence. Nothing that a person wrote reaches a template
of KubeSpawner, which formats braces: it goes into the pod's manifest as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import names, quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles import Catalogue, Choice, Hardware, Limits, Use, choose

KEYS: Final = ("hardware", "cpu", "memory", "gpus", "accelerator", "image", "shared_memory", "environment")
"""The names of options. ``profile`` is not among them: KubeSpawner would take it for one of its own list."""
_RESERVED: Final = ("JUPYTERHUB_", "JPY_", "KUBERNETES_", "KF_", "LD_")
_EXACT: Final = frozenset({"HOME", "PATH", "PYTHONPATH", "PYTHONHOME"})
_MOST_VARIABLES: Final = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """A checked wish: the hardware, and environment of one's own."""

    hardware: Hardware
    environment: Mapping[str, str] = field(default_factory=dict)


def from_form(form: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
    """The options of a posted form or a query; empty fields are left out. Checks nothing."""
    options: dict[str, Any] = {}
    for key, values in form.items():
        texts = [value for value in values if isinstance(value, str)]
        text = texts[-1].strip() if texts else ""
        if text and not key.startswith("_"):
            options[key] = text
    return options


def check(
    options: Mapping[str, Any],
    catalogue: Catalogue,
    groups: Iterable[str],
    others: Iterable[Hardware] = (),
) -> Wish:
    """The wish, if this person may have it.

    Args:
        options: as they came, from whichever way in.
        catalogue: the profiles.
        groups: the person's.
        others: the hardware of their servers that run already.

    Raises:
        UsageError: something is wrong or not allowed; one sentence for the person.
    """
    known = list(groups)
    if unknown := sorted(str(key) for key in options if key not in KEYS):
        raise UsageError(f"there is no option {unknown[0]!r}; the options are {', '.join(KEYS)}")
    slug = _text(options, "hardware")
    default = catalogue.default(Use.SERVER, known)
    if not slug and default is None:
        raise UsageError("there is no hardware for servers that you may use; ask who runs this hub")
    profile = catalogue.usable(slug or default.slug, Use.SERVER, known)  # type: ignore[union-attr]  # checked above
    limits = catalogue.limits_of(known)
    choice = Choice(
        cpu=_text(options, "cpu"),
        memory=_text(options, "memory"),
        gpus=_whole(options, "gpus"),
        accelerator=_text(options, "accelerator"),
        image=_text(options, "image"),
        shared_memory=_text(options, "shared_memory"),
    )
    hardware = choose(profile, choice, any_image=limits.own_image)
    within(hardware, others, limits)
    return Wish(hardware, environment(options.get("environment")))


def within(hardware: Hardware, others: Iterable[Hardware], limits: Limits) -> None:
    """Refuse what would be more than a person may have at a time.

    Raises:
        UsageError: says which limit, and what their servers have already.
    """
    running = list(others)
    if limits.servers is not None and len(running) >= limits.servers:
        raise UsageError(f"you may run {limits.servers} servers at a time; stop one first")
    every = [_limit(one) for one in (*running, hardware)]
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


def _limit(hardware: Hardware) -> dict[str, Decimal]:
    amounts = {name: quantities.parse(value) for name, value in {**hardware.requests, **hardware.limits}.items()}
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
