"""Volumes of a person's server: which there are, which of them they may have, and where one may be mounted.

Pure. A claim is a person's own by the label that KubeSpawner writes; without one it is, in a namespace that only they
have. Of other people's claims nobody is told: they are as good as absent. Refuses places that would hide a part of the
system or of the home, and anything that would have to be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import names, quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import frameworks, pods
from jupyterlab_kf.model import Obj, labels, meta

HOME: Final = "/home/jovyan"
"""Where the workspace is mounted, as in Jupyter's own images."""
OWNER: Final = "hub.jupyter.org/username"
"""KubeSpawner's label: whose a claim is."""
NEW: Final = "+new"
"""In the form's lists: a volume that is to be made."""
SIZE: Final = "10Gi"
"""Of a new volume about which nothing is said."""
KEYS: Final = ("claim", "size", "path", "read_only")
MOST: Final = 8
"""Data volumes that one server may have."""

_SYSTEM: Final = (
    "/bin", "/boot", "/dev", "/etc", "/home", "/kf", "/lib", "/lib32", "/lib64", "/libx32", "/opt/conda", "/proc",
    "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var",  # noqa: S108  refused
)  # fmt: skip
_PATH: Final = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
_LONGEST_PATH: Final = 200
_LONGEST_NAME: Final = 63
_MEBI: Final = 2**20


@dataclass(frozen=True, slots=True)
class Claim:
    """A volume that is there. ``size`` is a quantity; empty where the claim does not say."""

    name: str
    size: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {quantities.size_in_words(self.size)}" if self.size else self.name


@dataclass(frozen=True, slots=True)
class Shelf:
    """A person's volumes at one moment.

    Attributes:
        home: the claim that is the workspace where nothing else is said.
        claims: theirs, by name; None where they cannot be looked at now.
        taken: names that others have in the same namespace.
    """

    home: str = ""
    claims: Mapping[str, Claim] | None = field(default_factory=dict)
    taken: frozenset[str] = frozenset()

    def find(self, name: str) -> Claim | None:
        """The claim of that name, if it is theirs.

        Raises:
            UsageError: it is not known which volumes there are.
        """
        if self.claims is None:
            raise UsageError(
                "your volumes cannot be looked at just now", hint="try again in a minute, or start without them"
            )
        return self.claims.get(name)


NOTHING: Final = Shelf()
"""Of somebody who has no volumes yet."""


def shelf(found: Iterable[Obj], *, home: str, person: str, alone: bool) -> Shelf:
    """The claims of a namespace as one person's volumes.

    Args:
        found: PersistentVolumeClaims.
        home: the name of the home's claim.
        person: the value of the label `OWNER` on what is theirs.
        alone: nobody else has the namespace, so that a claim without the label is theirs, too.
    """
    claims, taken = {}, set()
    for one in found:
        name, owner = str(meta(one).get("name", "")), labels(one).get(OWNER)
        lost = (one.get("status") or {}).get("phase") == "Lost" or "deletionTimestamp" in meta(one)
        if lost or not (owner == person or (owner is None and alone)):
            taken.add(name)
            continue
        spec = one.get("spec") or {}
        claims[name] = Claim(name, str(((spec.get("resources") or {}).get("requests") or {}).get("storage") or ""))
    return Shelf(home, dict(sorted(claims.items())), frozenset(taken))


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that a server is to have.

    Attributes:
        claim: its claim's name.
        size: of one that is to be made, in canonical form; empty for one that is there.
        path: where it is mounted; empty for the workspace.
    """

    claim: str
    size: str = ""
    path: str = ""
    read_only: bool = False


def workspace(claim: str, size: str, held: Shelf) -> Volume | None:
    """The workspace that was chosen; None for the home as the hub makes it.

    Raises:
        UsageError: there is no such volume, or none can be made so.
    """
    if not claim and not size:
        return None
    chosen = _chosen(claim or held.home, size, held)
    return None if chosen.claim == held.home and not chosen.size else chosen


def data(said: Any, held: Shelf, *, home: str, places: Iterable[str] = ()) -> tuple[Volume, ...]:
    """The data volumes that were asked for.

    Args:
        said: a list of mappings with the keys `KEYS`.
        held: the person's volumes.
        home: the claim that is mounted as the workspace.
        places: paths at which the hardware profile mounts something.

    Raises:
        UsageError: says which volume and what is wrong with it.
    """
    if said is None or said == "":
        return ()
    if not isinstance(said, Sequence) or isinstance(said, str) or not all(isinstance(one, Mapping) for one in said):
        raise UsageError(f"volumes are a list of mappings with the keys {', '.join(KEYS)}")
    if len(said) > MOST:
        raise UsageError(f"a server may have {MOST} data volumes, not {len(said)}")
    made: list[Volume] = []
    for number, one in enumerate(said, 1):
        volume = _one(one, number, held)
        if volume.claim == home:
            raise UsageError(f"the volume {volume.claim!r} is your workspace already")
        if volume.claim in [other.claim for other in made]:
            raise UsageError(f"the volume {volume.claim!r} is mounted twice", hint="once is enough")
        for place in (*places, *(other.path for other in made)):
            if _within(volume.path, place) or _within(place, volume.path):
                same = volume.path.rstrip("/") == place.rstrip("/")
                how = "is taken already" if same else f"and {place} would be one inside the other"
                raise UsageError(f"the volume {volume.claim!r} cannot be mounted: {volume.path} {how}")
        made.append(volume)
    return tuple(made)


def _one(said: Mapping[str, Any], number: int, held: Shelf) -> Volume:
    if unknown := sorted(str(key) for key in said if key not in KEYS):
        raise UsageError(f"volume {number} has no {unknown[0]!r}; it has {', '.join(KEYS)}")
    texts = {key: said.get(key) or "" for key in ("claim", "size", "path")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise UsageError(f"volume {number}: {key} is one text, not {type(value).__name__}")
    read_only = said.get("read_only", False)
    if not isinstance(read_only, bool):
        raise UsageError(f"volume {number}: read_only is true or false, not {read_only!r}")
    if not texts["claim"].strip():
        raise UsageError(f"volume {number}: say which volume it is")
    chosen = _chosen(texts["claim"].strip(), texts["size"].strip(), held)
    return Volume(chosen.claim, chosen.size, check_path(texts["path"].strip() or f"{HOME}/{chosen.claim}"), read_only)


def _chosen(name: str, size: str, held: Shelf) -> Volume:
    """An existing volume, or a new one; one that was made as it is wished now is both."""
    if name == NEW:
        raise UsageError("a new volume needs a name", hint="lower-case letters, digits and '-', such as my-data")
    if not names.is_object_name(name):
        raise UsageError(f"{name!r} is not the name of a volume: lower-case letters, digits and '-'")
    there = held.find(name)
    if not size:
        if there is None:
            known = frameworks.nearest(name, sorted(held.claims or ()), "you have") if held.claims else "you have none"
            raise UsageError(f"there is no volume {name!r}", hint=f"{known}; for a new one say its size")
        return Volume(name)
    wanted = _size(name, size)
    if there is not None:
        if there.size and quantities.parse(there.size) == quantities.parse(wanted):
            return Volume(name)
        has = f" of {quantities.size_in_words(there.size)}" if there.size else ""
        raise UsageError(
            f"you have a volume {name!r}{has} already", hint="choose it from the list, or give the new one another name"
        )
    if len(name) > _LONGEST_NAME or "." in name:
        raise UsageError(f"{name!r} cannot name a new volume: at most {_LONGEST_NAME} letters, digits and '-'")
    if name in held.taken:
        raise UsageError(f"the name {name!r} is taken", hint="give the new volume another one")
    return Volume(name, wanted)


def _size(name: str, text: str) -> str:
    try:
        value = quantities.parse(text)
    except UsageError:
        raise UsageError(f"{text!r} is not a size for the volume {name!r}", hint="write 512Mi, 10Gi or 1Ti") from None
    if value < _MEBI:
        raise UsageError(f"the volume {name!r} would have {text}, less than a megabyte", hint="write 512Mi or 10Gi")
    return quantities.canonical(text)


def check_path(path: str) -> str:
    """The path, if a volume may be mounted there.

    Raises:
        UsageError: it is no absolute path of plain names, or it would hide a part of the system or of the home.
    """
    hint = f"take a folder such as {HOME}/data or /mnt/data"
    plain = path.rstrip("/")
    if not _PATH.fullmatch(plain) or len(plain) > _LONGEST_PATH:
        raise UsageError(
            f"{path!r} is not a place for a volume: an absolute path of letters, digits, '-', '_' and '.'", hint=hint
        )
    if _within(HOME, plain):
        raise UsageError(f"a volume at {plain} would hide your home", hint=hint)
    if not _within(plain, HOME) and any(_within(plain, one) or _within(one, plain) for one in _SYSTEM):
        raise UsageError(f"a volume at {plain} would hide a part of the system", hint=hint)
    return plain


def _within(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def within(wanted: Iterable[Volume], held: Shelf, most: Decimal | None) -> None:
    """Refuse new volumes that would make more than a person may have.

    Raises:
        UsageError: says how much that is, and what there is already.
    """
    new = sum((quantities.parse(one.size) for one in wanted if one.size), Decimal(0))
    if most is None or not new:
        return
    have = sum((quantities.parse(one.size) for one in (held.claims or {}).values() if one.size), Decimal(0))
    if have + new > most:
        said = f"you may have {quantities.size_in_words(most)} of volumes"
        rest = f"those you have are {quantities.size_in_words(have)}" if have else "you have none yet"
        raise UsageError(f"{said}, and {quantities.size_in_words(new)} more is too much; {rest}")


def mount(pod: Obj, container: str, home: str, chosen: Volume | None, wanted: Sequence[Volume]) -> None:
    """Put volumes into a pod's manifest, in place: another workspace for the home, and data volumes."""
    spec = pod["spec"]
    main = next(one for one in spec["containers"] if one["name"] == container)
    if chosen is not None:
        for volume in spec.get("volumes") or ():
            source = volume.get("persistentVolumeClaim")
            if source and source.get("claimName") == home:
                source["claimName"] = chosen.claim
        for entry in main.get("env") or ():
            if entry.get("name") == "KF_WORKSPACE_CLAIM":
                entry["value"] = chosen.claim
    for one in wanted:
        volume = pods.claim_volume(one.claim)
        spec.setdefault("volumes", []).append(volume)
        place = {"name": volume["name"], "mountPath": one.path, **({"readOnly": True} if one.read_only else {})}
        main.setdefault("volumeMounts", []).append(place)
        variable = pods.Mount(one.claim, one.path).variable
        main["env"] = [entry for entry in main.get("env") or () if entry["name"] != variable]
        main["env"] += pods.environment({variable: one.path})


def claims_of(pod: Mapping[str, Any]) -> frozenset[str]:
    """The names of the claims that a pod mounts."""
    found = (one.get("persistentVolumeClaim") or {} for one in (pod.get("spec") or {}).get("volumes") or ())
    return frozenset(str(one["claimName"]) for one in found if one.get("claimName"))
