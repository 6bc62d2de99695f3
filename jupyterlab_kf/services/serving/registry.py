"""Models that were served, kept by their content: what answered last month can be looked at, and served again.

A file is a blob under the hash of its bytes, so that versions share what they have in common; a model is a record that
names its blobs, under the model's own hash, which endpoints' histories tell. The place is a folder, or any address that
``fsspec`` knows (``s3://bucket/models``) where that is installed. Nothing is ever overwritten but the record of a model
that is served again; removing is for people.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from jupyterlab_kf.errors import BundleError, NotFoundError, UsageError
from jupyterlab_kf.services import session
from jupyterlab_kf.services.bundle import size
from jupyterlab_kf.services.serving import assembly, pieces, shipping
from jupyterlab_kf.services.serving.assembly import Assembly
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.settings import Settings

_RECORDS: Final = "models"
_BLOBS: Final = "blobs"
_LEAST: Final = 4
"""Characters of a hash that name a model."""
OFF: Final = "off"
_BUCKETS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
"""Schemes of stores without folders: to make one there would make a bucket that somebody misspelt."""


class PlaceError(UsageError, OSError):
    """The place where models are kept does not do what it was asked; names the address."""


class Place(Protocol):
    """Where bytes lie by name."""

    def read(self, name: str) -> bytes:
        """The bytes; FileNotFoundError where there are none."""

    def write(self, name: str, content: bytes) -> None:
        """Keep them: whole or not at all."""

    def has(self, name: str) -> bool:
        """Whether they are there."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, or one that is mounted."""

    root: Path

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """A file that is there with all its bytes, however this process ends."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(path)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def names(self, folder: str) -> list[str]:
        """The files of a folder."""
        path = self.root / folder
        return sorted(one.name for one in path.iterdir()) if path.is_dir() else []


class Remote:
    """An address that fsspec knows.

    What it refuses is told with the whole address: for S3 the bucket and the key.
    """

    def __init__(self, address: str) -> None:
        try:
            import fsspec  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise UsageError(
                f"models are to be kept at {address}, and fsspec is not installed",
                hint="pip install 'jupyterlab-kf[s3]' for s3://, else fsspec with what it needs there; "
                "or set KF_MODELS to a folder",
            ) from None
        self._scheme = address.partition("://")[0]
        try:
            # Others write there too, so what was listed once says nothing of now.
            self._files, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UsageError(f"models cannot be kept at {address}: {error}", hint="KF_MODELS says where") from error

    def read(self, name: str) -> bytes:
        """The bytes of an object."""
        with self._told("read", name):
            return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """An object; stores such as S3 show it whole or not at all."""
        with self._told("written", name):
            if self._scheme not in _BUCKETS:
                self._files.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
            try:
                self._files.pipe_file(f"{self._root}/{name}", content)
            except FileNotFoundError as error:
                raise OSError(f"there is no such bucket: {error}") from error

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        with self._told("looked for", name):
            return bool(self._files.exists(f"{self._root}/{name}"))

    def names(self, folder: str) -> list[str]:
        """The objects below a name."""
        try:
            with self._told("listed", folder):
                found = self._files.ls(f"{self._root}/{folder}", detail=False)
                return sorted(str(one).rpartition("/")[2] for one in found)
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _told(self, what: str, name: str) -> Iterator[None]:
        """Tell what the library raises by the address; that something is not there is for who asked.

        Raises:
            PlaceError: it could not be done.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # of a dozen libraries, none of which can be named here
            said = f"{self._scheme}://{self._root}/{name} cannot be {what}: {str(error) or type(error).__name__}"
            raise PlaceError(
                said, hint="KF_MODELS says where models are kept; credentials are those of your environment"
            ) from error


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model that was served.

    Attributes:
        digest: its hash, as histories tell it.
        kind: sklearn, python, graph, ...
        called: what people call it.
        endpoint: the endpoint that it was last served at, with its version.
        author: who served it.
        notebook: from which notebook.
        when: epoch seconds.
        made: what it was made with, package to version.
        files: path to the hash of its bytes.
        size: bytes of all files.
        part: the unit of a graph that is meant; empty for the whole.
    """

    digest: str
    kind: str
    called: str
    endpoint: str = ""
    author: str = ""
    notebook: str = ""
    when: float = 0.0
    made: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    part: str = ""
    _shape: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _place: Place | None = field(default=None, repr=False)

    def content(self) -> dict[str, bytes]:
        """The files.

        Raises:
            BundleError: one is gone, or is not what was kept.
        """
        return {name: self._blob(name, digest) for name, digest in self.files.items()}

    def save(self, folder: str | Path) -> Path:
        """Write the files into a folder; answers it."""
        root = Path(folder).expanduser()
        for name, content in self.content().items():
            path = root / name
            if not path.resolve().is_relative_to(root.resolve()):
                raise BundleError(f"the model {self.digest[:12]} has a file {name!r}, which is outside of it")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    def unit(self, name: str) -> KeptModel:
        """A unit of a graph that was kept, to be served by itself or as a part of another graph.

        Raises:
            UsageError: there is no such unit with a model of its own.
        """
        pieces.taken(assembly.load(self._shape, {}), name)
        return replace(self, part=name)

    def model(self) -> Model:
        """The model by itself, with what it was made with as its ``params``.

        Raises:
            UsageError: it is a graph, and no unit of it was named.
        """
        return pieces.taken(self.assembly(), self.part)

    def models(self) -> dict[str, Model]:
        """Unit to its model, without files, of the units with a model of their own; a model alone has no name."""
        return pieces.every(assembly.load(self._shape, {}))

    @property
    def expression(self) -> str:
        """How it is written in Python."""
        found = f"kf.kept_model({self.digest[:12]!r})"
        return f"{found}.unit({self.part!r})" if self.part else found

    def assembly(self) -> Assembly:
        """What can be served of it again."""
        return assembly.load(self._shape, self.content())

    def _blob(self, name: str, digest: str) -> bytes:
        assert self._place is not None  # noqa: S101  it comes out of a registry
        try:
            content = self._place.read(_blob(digest))
        except FileNotFoundError:
            raise BundleError(f"the file {name} of model {self.digest[:12]} is not kept any more") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"the file {name} of model {self.digest[:12]} is damaged where it is kept")
        return content

    def __repr__(self) -> str:
        return f"<KeptModel {self.digest[:12]}: {self.called} ({self.kind}, {size(self.size)}), {self.endpoint}>"


def place(here: Settings) -> Place | None:
    """Where models are kept; None where they are not."""
    if here.models == OFF:
        return None
    if "://" in here.models:
        return Remote(here.models)
    return Folder(Path(here.models).expanduser() if here.models else here.data_dir / "models")


def keep(served: Assembly, files: Mapping[str, bytes], where: Place, **told: Any) -> None:
    """Keep a model with all that travels with it; ``told`` are attributes of :class:`KeptModel`.

    Raises:
        OSError: it could not be written.
    """
    kept = {name: content for name, content in files.items() if name not in (shipping.RUNTIME, shipping.STARTER)}
    named = {name: hashlib.sha256(content).hexdigest() for name, content in kept.items()}
    for name, content in kept.items():
        if not where.has(_blob(named[name])):
            where.write(_blob(named[name]), content)
    model = served.model
    record = {
        **told,
        "digest": model.digest,
        "kind": model.kind,
        "called": model.called,
        "made": dict(model.versions),
        "files": named,
        "size": sum(map(len, kept.values())),
        "shape": assembly.dump(served),
    }
    # Last: a record whose blobs are not all there would be of no use.
    where.write(f"{_RECORDS}/{model.digest}.json", json.dumps(record, sort_keys=True, indent=1).encode())


def models() -> list[KeptModel]:
    """The models that were served by this account, or by all who share ``KF_MODELS``; the last one first."""
    return everything(place(session.current().settings))


def everything(where: Place | None) -> list[KeptModel]:
    """The models that are kept there; the last one that was served first."""
    names = where.names(_RECORDS) if where is not None else []
    found = [_read(where, name) for name in names if where is not None and name.endswith(".json")]
    return sorted(found, key=lambda one: one.when, reverse=True)


def kept_model(digest: str) -> KeptModel:
    """The kept model whose hash begins so; ``endpoint.history()`` and ``%kf_endpoints`` tell hashes.

    Raises:
        UsageError: the beginning is too short, or several models have it.
        NotFoundError: none has it.
    """
    if len(digest) < _LEAST or set(digest) - set("0123456789abcdef"):
        raise UsageError(f"{digest!r} is not the beginning of a hash", hint="give at least four of its characters")
    where = place(session.current().settings)
    names = [one for one in (where.names(_RECORDS) if where is not None else ()) if one.startswith(digest)]
    if len(names) > 1:
        raise UsageError(f"{len(names)} models have hashes that begin with {digest}", hint="give more of it")
    if not names or where is None:
        raise NotFoundError(
            f"no model {digest} is kept here", hint="kf.models() lists those that are; KF_MODELS says where they are"
        )
    return _read(where, names[0])


def _read(where: Place, name: str) -> KeptModel:
    try:
        told = json.loads(where.read(f"{_RECORDS}/{name}"))
        known = {key: told[key] for key in ("digest", "kind", "called", "made", "files", "size")}
        more = {key: told[key] for key in ("endpoint", "author", "notebook", "when") if key in told}
        return KeptModel(**known, **more, _shape=told["shape"], _place=where)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"the record {name} of a kept model cannot be read: {error!r}") from error


def _blob(digest: str) -> str:
    return f"{_BLOBS}/{digest[:2]}/{digest}"
