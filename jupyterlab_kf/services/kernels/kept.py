"""Which kernels a notebook server has left running, for its next start to find: a file for each, in the person's home.

A file has the keys of its kernel, as Jupyter's connection files have, and only its owner may read it: the cluster's
Secrets are written by us and never read. Whose kernel it is says the name of the server, which is the same after a
restart. Knows nothing of Jupyter's classes, and is light to import: each start of a server does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from jupyterlab_kf.model import meta
from jupyterlab_kf.settings import Settings

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A kernel that may outlive its server.

    Attributes:
        kernel_id: under which Jupyter knows it.
        kernel_name: the name of its kernel spec.
        state: what the kernel's provisioner needs to take it over; keys are in it.
        sessions: its sessions (``id``, ``path``, ``name``, ``type``): the notebooks that use it.
    """

    kernel_id: str
    kernel_name: str
    state: Mapping[str, Any]
    sessions: tuple[Mapping[str, str], ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """The cluster and the namespace that its pod is in."""
        return str(self.state["context"]), str(meta(self.state["job"])["namespace"])


def name_of(options: Settings, root: Path) -> str:
    """The name by which a server knows its kernels after a restart: the hub's for it, else machine and folder."""
    if options.user:
        return f"{options.user}/{options.server}"
    return f"{socket.gethostname()}:{root}"


class Shelf:
    """The kept kernels of one server.

    Args:
        folder: where all servers of a person keep theirs.
        server: this server's name.
        only: nobody else can have that name, as on a hub; else a second server of the same name keeps nothing.
    """

    def __init__(self, folder: Path, server: str, *, only: bool = False) -> None:
        self._folder = folder / hashlib.sha256(server.encode()).hexdigest()[:16]
        self._mine = only

    @property
    def used(self) -> bool:
        """Whether there may be kernels; cheap, for each start of a server asks it."""
        return any(self._folder.glob("*.json"))

    def claim(self) -> bool:
        """Have it for this process; False while another server of the same name runs, whose kernels they are."""
        if self._mine:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Held until this process ends, in whatever way.
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks, or none to write to: then nothing will be found there
            pass
        self._mine = True
        return True

    def all(self) -> list[Kept]:
        """What is kept; files that are not ours or are broken are passed over."""
        found = []
        for file in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                read = json.loads(file.read_text(encoding="utf-8"))
                one = Kept(**{**read, "sessions": tuple(read["sessions"])})
                if one.kernel_id == file.stem and one.place:
                    found.append(one)
        return found

    def find(self, kernel_id: str) -> Kept | None:
        """One of them."""
        return next((one for one in self.all() if one.kernel_id == kernel_id), None)

    def put(self, kept: Kept) -> bool:
        """Keep a kernel, from now on also when this process is killed; False where that cannot be."""
        if not _ID.fullmatch(kept.kernel_id):
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Readable by nobody else from the first byte on, and whole or not there at all.
            number, name = tempfile.mkstemp(dir=self._folder, prefix=".")
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(asdict(kept), file)
            Path(name).replace(self._file(kept.kernel_id))
        except OSError:
            return False
        return True

    def note(self, sessions: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
        """Write down which sessions there are, by kernel."""
        for one in self.all():
            now = tuple(dict(session) for session in sessions.get(one.kernel_id, ()))
            if now and now != one.sessions:
                self.put(replace(one, sessions=now))

    def drop(self, kernel_id: str) -> None:
        """Forget one."""
        with suppress(OSError):
            self._file(kernel_id).unlink(missing_ok=True)

    def _file(self, kernel_id: str) -> Path:
        return self._folder / f"{kernel_id}.json"


SHELVES: Final[WeakKeyDictionary[Any, Shelf]] = WeakKeyDictionary()
"""By Jupyter's manager of many kernels: where those are kept that it starts. Who has none keeps none."""
