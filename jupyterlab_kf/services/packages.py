"""Which packages code needs: from the modules that it imports to the distributions that have them here.

``sklearn`` is imported and ``scikit-learn`` is installed: the metadata of the notebook's own environment says which
belongs to which. Reading it (:func:`here`) is the only I/O; everything else is pure, and nothing is imported.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.services.imports import Import

_KNOWN: Final[Mapping[str, str]] = {
    "bs4": "beautifulsoup4", "cv2": "opencv-python-headless", "dateutil": "python-dateutil", "faiss": "faiss-cpu",
    "fitz": "pymupdf", "google.protobuf": "protobuf", "jwt": "pyjwt", "mpi4py": "mpi4py", "OpenSSL": "pyopenssl",
    "PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "tensorflow_datasets": "tensorflow-datasets",
    "yaml": "pyyaml",
}  # fmt: skip
"""Modules whose distribution has another name, for those that are not installed here."""
_USUAL: Final = frozenset({*_KNOWN, "chainer", "chainermn", "horovod", "jax", "mxnet", "tensorflow", "torch"})
"""Modules that an image may well have though the notebook does not."""
_DEEPEST: Final = 3
"""How many parts of a dotted name tell apart the packages that share its first one (``google.cloud.storage``)."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The packages of a Python environment; names are normalised (:func:`normal`).

    Attributes:
        versions: name to version.
        modules: importable name to the packages that have it; dotted where several share the first part.
        folders: name to the folder that it was installed from, for packages that no index need have.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Package:
    """A package that the code imports.

    Attributes:
        module: the name by which it is imported.
        name: the distribution's name; a guess where it is not installed here.
        version: as installed here; empty where it is not.
        others: further distributions that have the module, any of which will do.
        folder: where it was installed from, when that was a folder of this machine.
        file: where it is imported first.
        line: the line there.
        optional: the code can do without.
    """

    module: str
    name: str
    version: str = ""
    others: tuple[str, ...] = ()
    folder: str = ""
    file: str = ""
    line: int = 0
    optional: bool = False

    @property
    def requirement(self) -> str:
        """What to ask an index for: the version that is here, without what names a build of it."""
        return f"{self.name}=={self.version.partition('+')[0]}" if self.version else self.name


def normal(name: str) -> str:
    """A distribution's name in its one form (PEP 503): ``Scikit_Learn`` is ``scikit-learn``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(imports: Iterable[Import], installed: Callable[[], Installed]) -> tuple[Package, ...]:
    """The packages that imports need, by name; those of the standard library are none.

    Args:
        imports: what is found outside the bundle.
        installed: reads the notebook's environment; asked only when there is something to look up.
    """
    found: dict[str, Package] = {}
    foreign = [one for one in imports if one.top not in sys.stdlib_module_names]
    known = installed() if foreign else Installed()
    for one in sorted(foreign, key=lambda one: (one.optional, one.line)):
        package = _package(one, known)
        found.setdefault(package.name, package)
    return tuple(found[name] for name in sorted(found))


def _package(one: Import, installed: Installed) -> Package:
    parts = one.module.split(".")
    for length in range(min(len(parts), _DEEPEST), 0, -1):
        module = ".".join(parts[:length])
        names = installed.modules.get(module)
        if names:
            name = names[0]
            version, folder = installed.versions.get(name, ""), installed.folders.get(name, "")
            return Package(module, name, version, names[1:], folder, one.file, one.line, one.optional)
    known = next((_KNOWN[key] for key in (one.module, ".".join(parts[:2]), one.top) if key in _KNOWN), one.top)
    return Package(one.top, normal(known), file=one.file, line=one.line, optional=one.optional)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package to install at start.

    Attributes:
        requirement: as pip takes it.
        unless: packages any of which, in whatever version, makes it needless; none: pip compares the versions.
        module: what makes it needless too, if it can be imported.
    """

    requirement: str
    unless: tuple[str, ...] = ()
    module: str = ""

    def instruction(self) -> dict[str, Any]:
        """As the installer in the pod reads it."""
        return {"requirement": self.requirement, "unless": list(self.unless), "module": self.module}


def wanted(
    install: bool | Sequence[str],  # noqa: FBT001  the argument of ``train``, handed on
    needed: Sequence[Package],
    installed: Callable[[], Installed],
) -> tuple[Wanted, ...]:
    """What is to be installed at start, where the image does not have it.

    Args:
        install: True for what the code imports and is installed here; or requirements, of which one without a version
            stands for the version that is here, and may be a module's name.
        needed: what the code imports.
        installed: reads the notebook's environment.

    Raises:
        UsageError: a requirement is none.
    """
    if isinstance(install, str):
        raise UsageError("install is one text; it must be a list", hint=f"for example [{install!r}]")
    if isinstance(install, bool):
        some = [one for one in needed if one.version and not one.folder and not one.optional] if install else []
        return tuple(Wanted(one.requirement, (one.name, *one.others), one.module) for one in some)
    found = {one.requirement: one for one in (_wanted(word.strip(), installed()) for word in install)}
    return tuple(found.values())


def _wanted(word: str, installed: Installed) -> Wanted:
    match = _REQUIREMENT.fullmatch(word)
    if not match:
        raise UsageError(
            f"{word!r} cannot be installed",
            hint="write a package's name, perhaps with a version (NAME==1.2), or NAME @ https://...; which index is "
            "asked is said by pip's own variables, such as PIP_INDEX_URL, in the environment of the job or its profile",
        )
    if match["rest"]:
        return Wanted(word)
    name = normal(word)
    if name not in installed.versions:
        name = next(iter(installed.modules.get(word, ())), normal(_KNOWN.get(word, word)))
    if name in installed.folders:
        raise UsageError(
            f"{name} is installed here from the folder {installed.folders[name]}, where no job can get it",
            hint=f"ship it with --files, or name a version that an index has: --install {name}==VERSION",
        )
    here_ = Package(word, name, installed.versions.get(name, ""))
    return Wanted(here_.requirement, (name,))


def versions(packages: Iterable[Package]) -> dict[str, str]:
    """Name to version, for the record; what is not installed here is left out."""
    return {one.name: one.version for one in packages if one.version}


def is_package(module: str) -> bool:
    """Whether a module of this name is somebody else's: the standard library's, or a package's."""
    return module in sys.stdlib_module_names or module in _USUAL or module in here().modules


_FIELD: Final = re.compile(r"^(Name|Version):[ \t]*(.*?)\s*$", re.MULTILINE)
_REQUIREMENT: Final = re.compile(
    r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?P<rest>(?:\[[\w\s,.-]*\])?\s*(?:@\s*\S+|(?:[<>=!~]=?=?\s*[\w.*+!-]+\s*,?\s*)+)?"
    r"(?:\s*;.*)?)"
)

Stamp = tuple[str, int]
"""An entry of ``sys.path``, and when it was changed."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a distribution says of itself."""

    name: str
    version: str
    tops: frozenset[str]
    folder: str
    itself: metadata.Distribution


_entries: dict[Stamp, tuple[_Found, ...]] = {}
_kept: dict[tuple[Stamp, ...], Installed] = {}


def here() -> Installed:
    """The packages of this process' environment, read anew when something was installed."""
    stamps = tuple((entry, _changed(entry)) for entry in sys.path)
    if stamps not in _kept:
        # An entry that somebody added is read by itself: the others have hundreds of distributions.
        fresh = {stamp: _entries.get(stamp) or _found(stamp[0]) for stamp in dict.fromkeys(stamps)}
        found = _read([one for part in fresh.values() for one in part])
        _entries.clear()
        _entries.update(fresh)
        _kept.clear()
        _kept[stamps] = found
    return _kept[stamps]


def _found(entry: str) -> tuple[_Found, ...]:
    found = []
    for one in metadata.distributions(path=[entry]):
        name, version = _called(one)
        if name:
            found.append(_Found(name, version, frozenset(_tops(one)), _folder(one), one))
    return tuple(found)


def _changed(entry: str) -> int:
    try:
        return Path(entry or ".").stat().st_mtime_ns
    except OSError:
        return 0


def _read(distributions: Sequence[_Found]) -> Installed:
    named: dict[str, _Found] = {}
    for one in distributions:
        named.setdefault(normal(one.name), one)  # the first on the path is the one that is imported
    owners: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, one in named.items():
        for module in [*one.tops, *_linked(one.folder)]:
            owners[module][name] = None
    for module, names in [(module, list(names)) for module, names in owners.items() if len(names) > 1]:
        for name in names:
            for inner in _inner(named[name].itself, module):
                owners[inner][name] = None
    return Installed(
        versions={name: one.version for name, one in named.items()},
        modules={module: tuple(names) for module, names in owners.items()},
        folders={name: one.folder for name, one in named.items() if one.folder},
    )


def _called(one: metadata.Distribution) -> tuple[str, str]:
    """Name and version, from the head of the metadata: to parse all of it takes ten times as long, for hundreds."""
    text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
    said = dict(_FIELD.findall(text.partition("\n\n")[0]))
    return said.get("Name", ""), said.get("Version", "")


def _tops(one: metadata.Distribution) -> set[str]:
    """The names that a distribution puts on ``sys.path``."""
    listed = (one.read_text("top_level.txt") or "").split()
    if listed:
        return {name for name in listed if name.isidentifier()}
    return {top for file in one.files or () if (top := file.parts[0].partition(".")[0]).isidentifier() and _code(file)}


def _code(file: metadata.PackagePath) -> bool:
    return file.suffix in (".py", ".so", ".pyd") and ".data" not in file.parts[0]


@lru_cache(maxsize=512)
def _inner(one: metadata.Distribution, module: str) -> frozenset[str]:
    """The dotted names below a shared one, as deep as is looked."""
    found = set()
    for file in one.files or ():
        if file.parts[0] == module and _code(file):
            parts = [*file.parts[:-1], *([] if file.stem == "__init__" else [file.name.partition(".")[0]])]
            found |= {".".join(parts[:length]) for length in range(2, min(len(parts), _DEEPEST) + 1)}
    return frozenset(found)


def _folder(one: metadata.Distribution) -> str:
    """The folder that a distribution was installed from; empty for one from an index."""
    try:
        source = json.loads(one.read_text("direct_url.json") or "{}")
        parts = urlsplit(str(source.get("url") or ""))
    except ValueError:  # somebody else's file is not our business
        return ""
    return unquote(parts.path) if parts.scheme == "file" and "dir_info" in source else ""


def _linked(folder: str) -> Iterator[str]:
    """The names that are imported from a folder which is installed as a link (an editable install)."""
    for base in (Path(folder), Path(folder) / "src") if folder else ():
        for path in base.glob("*/__init__.py"):
            if _origin(path.parent.name).startswith(str(base)):
                yield path.parent.name
        for path in base.glob("*.py"):
            if _origin(path.stem) == str(path):
                yield path.stem


def _origin(module: str) -> str:
    """The file that a module would be imported from; looking does not run it."""
    try:
        spec = util.find_spec(module) if module.isidentifier() else None
    except (ImportError, ValueError):
        return ""
    return str(spec.origin or "") if spec else ""
