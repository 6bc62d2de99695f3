"""The form in which a server is chosen: plain HTML that works without JavaScript, in the hub's own look.

Everything is escaped by the template engine. What is chosen is checked in `options`; the form is a help: each profile
has fields of its own, which are seen where it is chosen, and a last choice is made again where it is still possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests.capacity import Ground
from jupyterlab_kf.profiles import Accelerator, Amount, Catalogue, Choice, Limits, Profile, Use, choose
from jupyterlab_kf.services import hardware
from jupyterlab_kf_hub.options import KEYS
from jupyterlab_kf_hub.volumes import HOME, MOST, NEW, NOTHING, SIZE, Shelf

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES: Final = Path(__file__).with_name("templates")
_EMPTY: Final = {"claim": "", "name": "", "size": "", "path": "", "mode": "rw"}
"""A row of fields for a data volume; of several empty ones the style shows the first."""
_GIBI: Final = 2**30


@dataclass(frozen=True, slots=True)
class Field:
    """A text field of a card: what is in it, what counts where it is empty, and what may be said."""

    value: str
    default: str
    extent: str


@dataclass(frozen=True, slots=True)
class Place:
    """Whether it would start now, in a sentence, while one kind of GPU is chosen; empty: whichever is."""

    sentence: str
    waits: bool
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A profile as it is offered, with the fields that belong to it; None where there is nothing to choose.

    Attributes:
        places: one for each kind of GPU where there are several; none where it is not known what is free.
        kinds: of GPUs, where there are several: resource name and what it is called, with how many there may be.
        kind: the chosen one.
    """

    profile: Profile
    chosen: bool
    places: tuple[Place, ...]
    cpu: Field | None
    memory: Field | None
    gpus: Field | None
    kinds: tuple[tuple[str, str], ...]
    kind: str
    images: tuple[str, ...]
    image: str


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    engine = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return engine.get_template("form.html")


def render(
    catalogue: Catalogue,
    groups: Iterable[str],
    ground: Ground,
    last: Mapping[str, Any],
    *,
    note: str = "",
    held: Shelf = NOTHING,
) -> str:
    """The inside of the form.

    Args:
        catalogue: the profiles.
        groups: the person's.
        ground: what is free.
        last: the options of the last time, from whichever way in they came; nothing in them is trusted.
        note: what to say of the hardware here.
        held: the person's volumes.
    """
    known = list(groups)
    offers = list(catalogue.offered(Use.SERVER, known))
    said = {key: str(value) for key in KEYS if isinstance(value := last.get(key), (str, int, float))}
    chosen, warning = said.get("hardware", ""), ""
    if chosen not in [one.slug for one in offers]:
        try:
            before = catalogue.usable(chosen, Use.SERVER, known)
        except UsageError:
            default = catalogue.default(Use.SERVER, known)
            chosen = default.slug if default else ""
        else:
            instead = before.deprecated.replacement if before.deprecated else ""
            if instead in [one.slug for one in offers]:
                chosen = instead
            else:  # a hidden one that was chosen before stays chosen
                offers.append(before)
            warning = f"{notice[:1].upper()}{notice[1:]}." if (notice := before.notice()) else ""
    cards = [
        _card(one, ground, said if one.slug == chosen == said.get("hardware", chosen) else {}, chosen) for one in offers
    ]
    own = said.get("image", "")
    own = "" if any(own in card.images for card in cards if card.chosen) else own
    environment = last.get("environment") or ""
    if isinstance(environment, Mapping):
        environment = "\n".join(f"{name}={value}" for name, value in environment.items())
    rows = _rows(last.get("volumes"), held)
    limits = catalogue.limits_of(known)
    return _template().render(
        cards=cards,
        note=note,
        warning=warning,
        opened=bool(own or environment or rows or said.get("shared_memory") or said.get("workspace")),
        image=own,
        own_image=limits.own_image,
        shared_memory=said.get("shared_memory", ""),
        environment=environment,
        workspace=_workspace(said, held),
        kinds=sorted({place.kind for card in cards for place in card.places if place.kind}),
        rows=[*rows, *(_EMPTY for _ in range(MOST))][:MOST],
        held=held,
        home=str((held.claims or {}).get(held.home, held.home)),
        storage=_storage(limits, held),
        HOME=HOME,
        NEW=NEW,
        SIZE=SIZE,
    )


def _card(profile: Profile, ground: Ground, said: Mapping[str, str], chosen: str) -> Card:
    kinds = {one.resource: one for one in profile.accelerators}
    several = len(kinds) > 1
    kind = said.get("accelerator", "")
    counted = kinds.get(kind) or next(iter(kinds.values()), None)
    countable = counted is not None and (several or counted.movable)
    most = max((one.maximum for one in kinds.values()), default=0)
    least = min((one.minimum for one in kinds.values()), default=0)
    return Card(
        profile=profile,
        chosen=profile.slug == chosen,
        places=_places(profile, ground, said) if ground.machines else (),
        cpu=_amount(profile.cpu, "cpu", said.get("cpu", "")),
        memory=_amount(profile.memory, "memory", said.get("memory", "")),
        gpus=Field(said.get("gpus", ""), str(counted.default), f"{least} to {most}")
        if countable and counted is not None
        else None,
        kinds=tuple((one.resource, _kind(profile, one, ground)) for one in kinds.values()) if several else (),
        kind=kind if kind in kinds else "",
        images=profile.images if len(profile.images) > 1 else (),
        image=said.get("image", ""),
    )


def _places(profile: Profile, ground: Ground, said: Mapping[str, str]) -> tuple[Place, ...]:
    """Whether it would start with what stands in the fields, for each kind of GPU that may be chosen beside them."""
    if len(profile.accelerators) < 2:  # noqa: PLR2004  several
        return (_place(profile, next(iter(profile.accelerators), None), ground, said),)
    return tuple(replace(_place(profile, one, ground, said), kind=one.resource) for one in profile.accelerators)


def _place(profile: Profile, kind: Accelerator | None, ground: Ground, said: Mapping[str, str]) -> Place:
    resource = kind.resource if kind else ""
    choice = Choice(said.get("cpu", ""), said.get("memory", ""), _count(said.get("gpus", "")), resource)
    try:
        chosen = choose(profile, choice)
    except UsageError:  # what was refused, or is out of the profile by now: the default counts
        choice = Choice(accelerator=resource)
        chosen = choose(profile, choice)
    room = hardware.room_for(ground, chosen)
    if room.now and kind is not None and kind.maximum and resource not in chosen.requests:
        # None is asked for, and may be: what is said of the machines without one is not true of them with one.
        one = hardware.room_for(ground, choose(profile, replace(choice, gpus=1)))
        if not one.now:
            rest = "none is free now" if one.ever else "there is none here"
            return Place(f"Starts at once without {kind.display_name}s; {rest}.", waits=False)
    if kind is not None and resource in chosen.requests and not any(one.has.get(resource) for one in ground.machines):
        return Place(f"There is no {kind.display_name} here.", waits=True)
    return Place(room.sentence, waits=not room.now)


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _amount(amount: Amount, resource: str, said: str) -> Field | None:
    if not amount.movable:
        return None
    low, start, high = (_number(resource, text) for text in (amount.minimum, amount.request, amount.maximum))
    return Field(_number(resource, said), start, f"{low} to {high}")


def _number(resource: str, text: str) -> str:
    """An amount without its unit: CPUs, or GiB of memory; as it was written where that would not be the same."""
    try:
        value = quantities.parse(text) / (_GIBI if resource == "memory" else 1)
    except UsageError:
        return text
    short = f"{value.normalize():f}"
    return short if len(short) <= len("1024.125") else text


def _kind(profile: Profile, kind: Accelerator, ground: Ground) -> str:
    """``NVIDIA A100, 0 to 2; none free now``."""
    extent = f"{kind.minimum} to {kind.maximum}" if kind.movable else str(kind.default)
    count = max(kind.default, kind.minimum, min(1, kind.maximum))
    room = hardware.room_for(ground, choose(profile, Choice(accelerator=kind.resource, gpus=count)))
    if not ground.machines:
        free = ""
    elif not room.ever:
        free = "; not here"
    else:
        free = "; free now" if room.now else "; none free now"
    return f"{kind.display_name}, {extent}{free}"


def _workspace(said: Mapping[str, str], held: Shelf) -> dict[str, str]:
    """What is in the fields of the workspace."""
    claim, size = said.get("workspace", ""), said.get("workspace_size", "")
    there = claim in (held.claims or {})
    fresh = bool(size) and not there
    return {
        "claim": NEW if fresh else claim if there and claim != held.home else "",
        "name": claim.replace(NEW, "") if fresh else "",
        "size": size if fresh else "",
    }


def _rows(said: Any, held: Shelf) -> list[dict[str, str]]:
    """The data volumes of the last time; one that has been made meanwhile is chosen from the list."""
    rows = []
    for one in said if isinstance(said, Sequence) and not isinstance(said, str) else ():
        if not isinstance(one, Mapping):
            continue
        claim, size, path = (str(one.get(key) or "") for key in ("claim", "size", "path"))
        there = claim in (held.claims or {})
        if not there and not size and not path:
            continue
        fresh = bool(size) and not there
        rows.append(
            {
                "claim": NEW if fresh else claim if there else "",
                "name": claim.replace(NEW, "") if fresh else "",
                "size": size if fresh else "",
                "path": path,
                "mode": "ro" if one.get("read_only") is True else "rw",
            }
        )
    return rows


def _storage(limits: Limits, held: Shelf) -> str:
    """What of the limit on volumes is used, in a sentence; empty where there is no limit."""
    if limits.storage is None:
        return ""
    have = sum(quantities.parse(one.size) for one in (held.claims or {}).values() if one.size)
    most = quantities.size_in_words(limits.storage)
    used = f"{quantities.size_in_words(str(have))} are used" if have else "none of it is used yet"
    return f"Your volumes may have {most} together; {used}."
