"""Profiles as frozen values, and the questions that are asked of them: which are offered to whom, and for what.

Quantities are kept as canonical text (``500m``, ``2Gi``), empty where nothing is asked for. Refuses nothing but a slug
that is not there or not for the asker: values are checked when they are read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError

EVERYBODY: Final = "*"
"""In ``limits``: what holds for all whose groups say nothing else."""


GPU: Final = "nvidia.com/gpu"
"""What is meant by GPUs where nothing more is said."""


class Use(StrEnum):
    """Where a profile may be used."""

    SERVER = "server"
    TRAINING = "training"
    TRIAL = "trial"
    SERVING = "serving"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Amount:
    """CPU or memory: what is asked for and the most that is given.

    Attributes:
        request: what the scheduler keeps free; the default where the user may move it.
        limit: the most that is given; empty for no limit.
        minimum: the least that the user may ask for; empty where the amount is fixed.
        maximum: the most that the user may ask for.
    """

    request: str = ""
    limit: str = ""
    minimum: str = ""
    maximum: str = ""

    @property
    def movable(self) -> bool:
        """Whether the user may choose within a range; then request and limit are what was chosen."""
        return bool(self.maximum)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """GPUs (or their like) of one kind: the resource's name and how many."""

    resource: str
    display_name: str
    default: int
    minimum: int
    maximum: int

    @property
    def movable(self) -> bool:
        """Whether the user may choose how many."""
        return self.minimum != self.maximum


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint that pods of the profile may be placed in spite of; the fields are those of a pod's toleration."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def manifest(self) -> dict[str, str | int]:
        """As it stands in a pod."""
        pairs = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        found: dict[str, str | int] = {name: value for name, value in pairs.items() if value}
        if self.seconds is not None:
            found["tolerationSeconds"] = self.seconds
        return found


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that every pod of the profile has.

    Attributes:
        source: ``claim``, ``config_map``, ``secret`` or ``empty_dir``.
        target: the object's name; for ``empty_dir`` its size, or empty.
    """

    name: str
    mount_path: str
    source: str
    target: str = ""
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """A profile that should not be chosen any more: what to tell people, and the slug of the one to take instead."""

    message: str = ""
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one person may have at a time on the hub, all servers together; None is no limit.

    Attributes:
        storage: bytes of all their volumes together; it is asked when a new one is to be made.
    """

    servers: int | None = None
    cpu: Decimal | None = None
    memory: Decimal | None = None
    gpus: int | None = None
    storage: Decimal | None = None
    own_image: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One named piece of hardware.

    Attributes:
        images: the first is the default; empty leaves the image to what uses the profile.
        shared_memory: size of ``/dev/shm``, empty for the node's default.
        groups: who may use it; empty is everybody.
        used_for: where it may be used.
        idle_timeout: seconds without activity after which a server or kernel is ended; None is never.
        line: where the profile begins in its file.
    """

    slug: str
    display_name: str
    description: str = ""
    images: tuple[str, ...] = ()
    cpu: Amount = Amount()
    memory: Amount = Amount()
    accelerators: tuple[Accelerator, ...] = ()
    shared_memory: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    used_for: tuple[Use, ...] = tuple(Use)
    default: bool = False
    hidden: bool = False
    deprecated: Deprecation | None = None
    idle_timeout: int | None = None
    line: int = 0

    def allows(self, groups: Iterable[str] | None) -> bool:
        """Whether a member of these groups may use it; None: groups are not known here, and the cluster decides."""
        return groups is None or not self.groups or bool(set(self.groups) & set(groups))

    def notice(self) -> str:
        """What to tell whoever chooses a deprecated profile; empty for one that is not."""
        if self.deprecated is None:
            return ""
        said = f": {self.deprecated.message}" if self.deprecated.message else ""
        instead = f"; take {self.deprecated.replacement} instead" if self.deprecated.replacement else ""
        return f"the hardware profile {self.slug!r} is deprecated{said}{instead}"

    def hardware(self) -> str:
        """What one gets, in words: ``1 to 2 CPUs, 4 GiB of memory, 1 GPU``."""
        parts = [_said("cpu", self.cpu), _said("memory", self.memory)]
        for one in self.accelerators:
            count = f"{one.minimum} to {one.maximum}" if one.movable else f"{one.default}"
            if one.maximum:
                parts.append(f"{count} {one.display_name}{'s' if one.maximum > 1 else ''}")
        return ", ".join(part for part in parts if part) or "no more than it needs"


def _said(resource: str, amount: Amount) -> str:
    low, high = (amount.minimum, amount.maximum) if amount.movable else (amount.request, amount.limit)
    if low and high and low != high:
        return f"{_number(resource, low)} to {quantities.in_words(resource, quantities.parse(high))}"
    if low and not high:
        return f"at least {quantities.in_words(resource, quantities.parse(low))}"
    return quantities.in_words(resource, quantities.parse(high)) if high else ""


def _number(resource: str, text: str) -> str:
    value = quantities.parse(text)
    return f"{value / 2**30:.4g}" if resource == "memory" else f"{value.normalize():f}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All profiles of a file, in its order, the limits of groups, and what images have.

    Attributes:
        source: the file's name, for messages.
        packages: image to what it has of Python packages: name and version, which may be empty.
    """

    profiles: tuple[Profile, ...] = ()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    source: str = ""
    packages: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def find(self, slug: str) -> Profile | None:
        """The profile of that slug, whoever asks and whether it is hidden or not."""
        return next((profile for profile in self.profiles if profile.slug == slug), None)

    def offered(self, use: Use, groups: Iterable[str] | None = None) -> tuple[Profile, ...]:
        """What is shown to a person who chooses: usable there, allowed to them, neither hidden nor deprecated."""
        known = None if groups is None else frozenset(groups)
        return tuple(
            profile
            for profile in self.profiles
            if use in profile.used_for and not profile.hidden and profile.deprecated is None and profile.allows(known)
        )

    def usable(self, slug: str, use: Use, groups: Iterable[str] | None = None) -> Profile:
        """The profile, if it may be used there by a member of these groups. A hidden or deprecated one may.

        Raises:
            UsageError: there is none, or it is not for this use or this person.
        """
        known = None if groups is None else frozenset(groups)
        profile = self.find(slug)
        others = [one.slug for one in self.offered(use, known)]
        # Whoever may not use it need not learn that it is there.
        if profile is None or not profile.allows(known):
            raise UsageError(f"there is no hardware profile {slug!r}", hint=_instead(slug, others))
        if use not in profile.used_for:
            meant = ", ".join(profile.used_for)
            raise UsageError(f"the hardware profile {slug!r} is for {meant}, not for {use}", hint=_instead("", others))
        return profile

    def default(self, use: Use, groups: Iterable[str] | None = None) -> Profile | None:
        """What is chosen for a person who has not chosen: the one marked, else the first that is offered."""
        offered = self.offered(use, groups)
        return next((profile for profile in offered if profile.default), offered[0] if offered else None)

    def limits_of(self, groups: Iterable[str]) -> Limits:
        """What a person of these groups may have: the most generous of their groups'; what none says, everybody's."""
        base = self.limits.get(EVERYBODY, Limits())
        rows = [self.limits[name] for name in groups if name in self.limits and name != EVERYBODY]
        return Limits(
            servers=_most(base.servers, [row.servers for row in rows]),
            cpu=_most(base.cpu, [row.cpu for row in rows]),
            memory=_most(base.memory, [row.memory for row in rows]),
            gpus=_most(base.gpus, [row.gpus for row in rows]),
            storage=_most(base.storage, [row.storage for row in rows]),
            own_image=base.own_image or any(row.own_image for row in rows),
        )


_Number = TypeVar("_Number", int, Decimal)


def _most(base: _Number | None, values: list[_Number | None]) -> _Number | None:
    said = [value for value in values if value is not None]
    return max(said) if said else base


def _instead(slug: str, known: list[str]) -> str:
    if not known:
        return "jupyter kf profiles says where profiles are read from"
    close = difflib.get_close_matches(slug, known, n=1, cutoff=0.5)
    return f"{f'did you mean {close[0]}? ' if close else ''}there are {', '.join(known)}"
