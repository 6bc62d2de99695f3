"""What packages an image has, as far as it is known, and what of it is not what the code needs.

Two sources: a node that can tell (the embedded cluster's, whose images are Python environments), and the list that an
administrator keeps in the file of hardware profiles. Where neither knows, that is said, and nothing is judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, UsageError
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services import hardware
from jupyterlab_kf.services.packages import Package, Wanted, normal

_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class Contents:
    """The packages of an image.

    Attributes:
        versions: normalised name to version, which may be empty; None where it is not known.
        source: who says so; or why nobody does, where there is more to say than that.
    """

    image: str = ""
    versions: Mapping[str, str] | None = None
    source: str = ""

    def version(self, package: Package) -> str | None:
        """The version of what the image has of a package, or of another that has the module; None when it has none."""
        for name in (package.name, *package.others):
            if self.versions is not None and name in self.versions:
                return self.versions[name]
        return None


def listed(image: str) -> Contents:
    """What the file of hardware profiles says about an image."""
    try:
        known = hardware.catalogue()
    except UsageError:  # its faults are told to who chooses a profile
        return Contents(image)
    found = known.packages.get(image)
    if found is None:
        return Contents(image)
    return Contents(image, {normal(name): version for name, version in found}, known.source)


async def look(client: Client, image: str) -> Contents:
    """What a node of the cluster says, else what the file of profiles says."""
    try:
        nodes = await client.list(kinds.NODE, shape=shapes.NODE)
    except ApiError:  # the account may not see nodes
        return listed(image)
    telling = [meta(node)["name"] for node in nodes if _tells(node)]
    if not telling:
        return listed(image)
    path = f"{kinds.NODE.path(name=telling[0], subresource='proxy')}/packages"
    try:
        answer = await client.request("GET", path, params={"image": image})
    except ApiError as error:  # the image's environment cannot be had: the job will tell, too
        known = listed(image)
        return known if known.versions is not None else Contents(image, None, error.message)
    found = {normal(name): str(version) for name, version in answer["packages"].items()}
    return Contents(image, found, f"node {telling[0]}")


def _tells(node: Obj) -> bool:
    return names.ANNOTATION_TELLS_PACKAGES in (meta(node).get("annotations") or {})


@dataclass(frozen=True, slots=True)
class Gap:
    """What an image has not, or not as the notebook has it; what to do; and what would have to be installed."""

    sentence: str
    hint: str
    requirements: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.sentence}: {self.hint}"


def gaps(needed: Sequence[Package], contents: Contents, install: Sequence[Wanted]) -> list[Gap]:
    """What the image has not, or not as the notebook has it. Packages that are installed at start are left out.

    Args:
        needed: what the code imports; what it can do without is not missed.
        contents: what the image has.
        install: what is installed at start.
    """
    kept = {name for one in install for name in one.unless}
    forced = {normal(re.split(r"[^\w.-]", one.requirement, maxsplit=1)[0]) for one in install if not one.unless}
    asked = [one for one in needed if not one.optional and one.name not in forced]
    missing, found = _sorted(asked, contents)
    # What is not installed here has a guessed name, and may come with what was asked for by name.
    named = any(not one.module for one in install)
    missing = [one for one in missing if not kept.intersection((one.name, *one.others)) and (one.version or not named)]
    said = []
    image = f"the image {contents.image} has"
    if lacks := [one for one in missing if not one.folder]:
        them = "it" if len(lacks) == 1 else "them"
        flag = "--install" if all(one.version for one in lacks) else "--install NAME"
        hint = f"have {them} installed at start with {flag}, or choose an image that has {them} with --image"
        sentence = f"{image} no {_list([_missed(one) for one in lacks])}"
        said.append(Gap(sentence, hint, tuple(one.requirement for one in lacks)))
    said += [
        Gap(f"{image} no {one.name}, which is installed here from {one.folder}", "ship it with --files")
        for one in missing
        if one.folder
    ]
    if other := [(one, there) for one, there in found if _differs(one.version, there)]:
        exact = tuple(one.requirement for one, _ in other)
        pairs = _list([f"{one.name} {there} (here {one.version})" for one, there in other])
        hint = f"to have the versions of here, --install {' '.join(exact[:_MOST_NAMED])}"
        said.append(Gap(f"{image} {pairs}", hint, exact))
    return said


def _sorted(needed: Sequence[Package], contents: Contents) -> tuple[list[Package], list[tuple[Package, str]]]:
    """What is missing, and what is there with its version; neither where it is not known."""
    if contents.versions is None:
        return [], []
    found = [(one, contents.version(one)) for one in needed]
    return [one for one, there in found if there is None], [(one, there) for one, there in found if there is not None]


def _missed(one: Package) -> str:
    where = f"{one.file}, line {one.line}"
    return f"{one.name} ({one.version} here; {where})" if one.version else f"{one.name} (not here either; {where})"


def _list(parts: Sequence[str]) -> str:
    more = len(parts) - _MOST_NAMED
    return ", ".join([*parts[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])])


def _differs(here: str, there: str) -> bool:
    """Whether two versions are of another major or minor number."""
    one, two = ([*map(int, re.findall(r"\d+", version)), 0, 0][:2] for version in (here, there))
    return bool(here and there) and one != two
