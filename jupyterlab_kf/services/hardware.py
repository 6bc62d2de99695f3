"""The hardware that one can choose by name, and whether there is room for it now.

Finds and reads the file of profiles (read again when it changes) and looks at the cluster's machines. What a profile
means is in :mod:`jupyterlab_kf.profiles`; what fits where is summed in :mod:`jupyterlab_kf.manifests.capacity`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.shapes import Shape
from jupyterlab_kf.errors import ForbiddenError, NotFoundError, UsageError
from jupyterlab_kf.manifests import capacity
from jupyterlab_kf.manifests.capacity import Ground, Room
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Catalogue, Hardware, Profile, Use, choose, read
from jupyterlab_kf.services import session
from jupyterlab_kf.settings import Settings


@dataclass(frozen=True, slots=True)
class Offer:
    """A profile that can be chosen, and whether there is room for it."""

    profile: Profile
    room: Room


_read: dict[Path, tuple[int, Catalogue]] = {}


def catalogue(options: Settings | None = None) -> Catalogue:
    """The profiles of this machine or site; an empty catalogue where there is no file.

    Raises:
        UsageError: the file has faults, cannot be read, or is named by ``KF_PROFILES`` and is not there.
    """
    options = options or settings.load()
    path = find(options)
    return Catalogue() if path is None else load(path)


def find(options: Settings) -> Path | None:
    """The file that counts, or None.

    Raises:
        UsageError: ``KF_PROFILES`` names a file that is not there.
    """
    found = next((path for path in options.profiles_files if path.is_file()), None)
    if found is None and options.profiles:
        raise UsageError(f"KF_PROFILES names {options.profiles}, which is not there")
    return found


def load(path: Path) -> Catalogue:
    """The profiles of a file, kept until the file changes.

    Raises:
        UsageError: the file has faults or cannot be read.
    """
    try:
        stamp = path.stat().st_mtime_ns
        kept = _read.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the hardware profiles in {path} cannot be read: {error}") from error
    found = read(text, str(path))
    _read[path] = (stamp, found)
    return found


async def survey(client: Client, namespace: str = "") -> Ground:
    """The machines, what is free on them, and the namespace's quotas, as far as the account may see them."""
    nodes, running, quotas = await asyncio.gather(
        _listed(client, kinds.NODE, None, shapes.NODE),
        _listed(client, kinds.POD, None, shapes.USAGE),
        _listed(client, kinds.RESOURCE_QUOTA, namespace, shapes.OBJECT),
    )
    # Without the pods it is not known what is free, and a wrong figure is worse than none.
    return Ground() if nodes is None or running is None else capacity.survey(nodes, running, quotas or ())


async def _listed(client: Client, kind: kinds.Kind, namespace: str | None, shape: Shape) -> Sequence[Obj] | None:
    if namespace == "":
        return None
    try:
        return await client.list(kind, namespace, shape=shape)
    except (ForbiddenError, NotFoundError):
        return None


def room_for(ground: Ground, hardware: Hardware) -> Room:
    """Whether pods of the hardware would find a place."""
    profile = hardware.profile
    return capacity.room(
        ground,
        hardware.amounts(),
        node_selector=dict(profile.node_selector),
        tolerations=[one.manifest() for one in profile.tolerations],
    )


def offers(ground: Ground, found: Sequence[Profile]) -> list[Offer]:
    """Each profile with the room there is for its default."""
    return [Offer(profile, room_for(ground, choose(profile))) for profile in found]


def profiles(use: str = "training") -> list[Profile]:
    """The hardware profiles that can be chosen by name.

    Args:
        use: what for: ``server``, ``training``, ``trial``, ``serving`` or ``kernel``.

    Raises:
        UsageError: the file of profiles has faults, or there is no such use.
    """
    if use not in tuple(Use):
        raise UsageError(f"hardware profiles are not for {use!r}", hint=f"they are for {', '.join(Use)}")
    return list(catalogue().offered(Use(use)))


def here(use: Use | None) -> list[Offer]:
    """The profiles for a use (or for any), with the room that this process' cluster has; looking starts no cluster."""
    known = catalogue()
    uses = Use if use is None else (use,)
    found = list(dict.fromkeys(profile for one in uses for profile in known.offered(one)))
    now = session.current()
    ground = now.glance(lambda client: survey(client, now.namespace))
    return offers(ground or Ground(), found)
