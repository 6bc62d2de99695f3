"""Versioned objects in SQLite, an in-memory mirror for reads, and the window of recent changes for watches.

Owns durability: when a write returns, it survives SIGKILL of this process at any instruction (WAL with
``synchronous=NORMAL``: the commit is in the operating system's hands; only a crash of the machine itself may take the
last instants). Exactly one connection exists, exclusively locked, and it checkpoints itself: SQLite 3.7.0 to 3.51.2 can
lose a WAL that two connections reset at the same time. Synchronous, one thread. Refuses to know what an object means;
it reads no more of one than ``metadata``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from jupyterlab_kf.errors import AlreadyExistsError, ClusterError, ConflictError, ExpiredError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

Place: TypeAlias = tuple[str, str]
"""Group and plural: where a kind's objects lie. All versions of a kind share one place."""
Key: TypeAlias = tuple[str, str, str, str]
"""Group, plural, namespace, name."""

WINDOW: Final = 10_000
"""How many changes are kept for watches that resume."""
WINDOW_BYTES: Final = 64 * 1024 * 1024
"""How many bytes of encoded objects these changes may hold."""
CHECKPOINT_EVERY: Final = 1_000
"""Writes between two checkpoints: the WAL stays at a few megabytes."""

_PATIENCE: Final = 2.0
"""Seconds to wait for a process that is about to let go of the database."""
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    api_group TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (api_group, plural, namespace, name)
);
CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (0, 0);
"""


class Record(NamedTuple):
    """An object and its JSON, encoded once for the disk, every list and every watch."""

    obj: Obj
    encoded: bytes


class Change(NamedTuple):
    """One write, as watches see it. ``old`` is the object before it; ``encoded`` is ``obj`` as JSON."""

    type: str
    kind: Kind
    obj: Obj
    old: Obj | None
    revision: int
    encoded: bytes = b""


Listener: TypeAlias = Callable[[Change], None]
# Named here because inside the class ``list`` is the method.
Objects: TypeAlias = list[Obj]
Records: TypeAlias = list[Record]
Changes: TypeAlias = list[Change]
Keys: TypeAlias = list[Key]
Places: TypeAlias = list[Place]
Names: TypeAlias = list[tuple[str, str]]
Listeners: TypeAlias = list[Listener]


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8, as every answer and the disk hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class Store:
    """Every object of the cluster.

    Objects handed in and out are shared, never copied: nobody changes one.

    Raises:
        ClusterError: another process has the database open, it cannot be written, or it is damaged; a damaged one is
            moved aside first, so that nothing is overwritten and the loss is never silent.
    """

    def __init__(self, path: Path, *, window: int = WINDOW) -> None:
        self._path = path
        self._window = window
        self._objects: defaultdict[Place, dict[tuple[str, str], Record]] = defaultdict(dict)
        self._sorted: dict[Place, Names] = {}
        self._owners: defaultdict[str, set[Key]] = defaultdict(set)
        self._uids: dict[str, Key] = {}
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._listeners: Listeners = []
        self._undelivered: deque[Change] = deque()
        self._delivering = False
        self._writes = 0
        self._connection = self._open()
        self.revision = self._load()
        self._floor = self.revision

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """The object, or None."""
        record = self._objects[_place(kind)].get((namespace, name))
        return record.obj if record else None

    def record(self, kind: Kind, namespace: str, name: str) -> Record | None:
        """The object with its encoded form, or None."""
        return self._objects[_place(kind)].get((namespace, name))

    def list(self, kind: Kind, namespace: str | None = None) -> Objects:
        """All objects of a kind, by namespace and name."""
        return [record.obj for record in self.records(kind, namespace)]

    def records(self, kind: Kind, namespace: str | None = None) -> Records:
        """As :meth:`list`, with the encoded forms."""
        place = _place(kind)
        objects = self._objects[place]
        if place not in self._sorted:
            self._sorted[place] = sorted(objects)
        keys: Iterable[tuple[str, str]] = self._sorted[place]
        if namespace is not None:
            keys = (key for key in keys if key[0] == namespace)
        return [objects[key] for key in keys]

    def owned(self, kind: Kind, uid: str) -> Objects:
        """Objects of a kind whose controlling owner reference has that uid, by namespace and name."""
        place = _place(kind)
        keys = sorted(key[2:] for key in self._owners.get(uid, ()) if key[:2] == place)
        found = (self._objects[place][key].obj for key in keys)
        return [obj for obj in found if _controlled_by(obj, uid)]

    def dependents(self, uid: str) -> Keys:
        """Where the objects are that name this uid as an owner, of any kind, controlling or not."""
        return sorted(self._owners.get(uid, ()))

    def whose(self, uid: str) -> Key | None:
        """Where the object with that uid is, or None."""
        return self._uids.get(uid)

    def places(self) -> Places:
        """Where objects lie."""
        return [place for place, objects in self._objects.items() if objects]

    # --- writing -------------------------------------------------------------------------------------------------

    def put(self, kind: Kind, obj: Obj, *, expect: str | None = None) -> Obj:
        """Create or replace an object; it comes back with its new ``metadata.resourceVersion``.

        Args:
            kind: its kind, which says where it lies.
            obj: the whole object.
            expect: the resourceVersion that must be stored now; ``""`` when there must be no object; None for any.

        Raises:
            ConflictError: another version is stored.
            AlreadyExistsError: there is an object and there should be none.
            NotFoundError: there is no object, and one was expected.
        """
        meta = obj["metadata"]
        key = (*_place(kind), meta.get("namespace") or "", meta["name"])
        current = self._objects[key[:2]].get(key[2:])
        _check(kind, meta["name"], current.obj if current else None, expect)
        revision = self.revision + 1
        stored = {**obj, "metadata": {**meta, "resourceVersion": str(revision)}}
        body = encode(stored)
        with self._transaction(revision):
            self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*key, body))
        old = current.obj if current else None
        if old is not None:
            self._unindex(key, old)
        else:
            self._sorted.pop(key[:2], None)
        self._objects[key[:2]][key[2:]] = Record(stored, body)
        self._index(key, stored)
        self._publish(Change("MODIFIED" if old else "ADDED", kind, stored, old, revision, body))
        return stored

    def remove(self, kind: Kind, namespace: str, name: str) -> Obj:
        """Take an object away; it comes back with the resourceVersion of its deletion.

        Raises:
            NotFoundError: there is none.
        """
        key = (*_place(kind), namespace, name)
        record = self._objects[key[:2]].get(key[2:])
        if record is None:
            raise NotFoundError(f'{kind.resource} "{name}" not found', details=_details(kind, name))
        revision = self.revision + 1
        with self._transaction(revision):
            self._connection.execute(
                "DELETE FROM objects WHERE api_group = ? AND plural = ? AND namespace = ? AND name = ?", key
            )
        del self._objects[key[:2]][key[2:]]
        self._sorted.pop(key[:2], None)
        self._unindex(key, record.obj)
        last = {**record.obj, "metadata": {**record.obj["metadata"], "resourceVersion": str(revision)}}
        self._publish(Change("DELETED", kind, last, record.obj, revision, encode(last)))
        return last

    # --- following -----------------------------------------------------------------------------------------------

    def since(self, kind: Kind, revision: int) -> Changes:
        """Every change of a kind after a revision, oldest first.

        Raises:
            ExpiredError: changes after that revision are no longer kept.
        """
        if revision < self._floor:
            oldest = self._changes[0].revision if self._changes else self._floor
            raise ExpiredError(f"too old resource version: {revision} ({oldest})")
        place = _place(kind)
        start = bisect_right(self._changes, revision, key=lambda change: change.revision)
        return [self._changes[at] for at in range(start, len(self._changes)) if _place(self._changes[at].kind) == place]

    def kept(self, revision: int) -> bool:
        """True when every change after that revision is still in the window."""
        return revision >= self._floor

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after every write, in the order of writes; it must not raise. Returns what ends it.

        A listener may write: what it writes is told to everyone after the change at hand.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def close(self) -> None:
        """Fold the log into the database and let go of it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    # --- inside --------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False)
        try:
            # Exclusive before WAL: no shared-memory file, and a second connection is refused instead of tolerated.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.executescript(_SCHEMA)
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF in _CORRUPT:
                raise self._quarantine(str(error)) from error
            raise ClusterError(
                f"the embedded cluster's database {self._path} cannot be opened: {error}",
                hint="another process may be using it, the disk may be full, or the folder may not be writable",
            ) from error
        if verdict != "ok":
            connection.close()
            raise self._quarantine(str(verdict))
        self._path.chmod(0o600)
        return connection

    def _quarantine(self, why: str) -> ClusterError:
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
        for suffix in ("", "-wal", "-shm"):
            source = self._path.with_name(self._path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        return ClusterError(
            f"the embedded cluster's database was damaged ({why}); it was moved to {aside}",
            hint="start the cluster again to begin with an empty one, or restore the file from a backup first",
        )

    def _load(self) -> int:
        try:
            revision = int(self._connection.execute("SELECT revision FROM counter").fetchone()[0])
            rows = self._connection.execute("SELECT api_group, plural, namespace, name, body FROM objects")
            for *key, body in rows:
                obj = json.loads(body)
                where = (key[0], key[1], key[2], key[3])
                self._objects[where[:2]][where[2:]] = Record(obj, bytes(body))
                self._index(where, obj)
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            self._connection.close()
            raise self._quarantine(str(error)) from error
        return revision

    @contextmanager
    def _transaction(self, revision: int) -> Iterator[None]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("UPDATE counter SET revision = ?", (revision,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise ClusterError(
                f"the embedded cluster's database {self._path} cannot be written: {error}",
                hint="nothing was changed; is the disk full?",
            ) from error
        self.revision = revision
        self._writes += 1
        if self._writes % CHECKPOINT_EVERY == 0:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _index(self, key: Key, obj: Obj) -> None:
        meta = obj["metadata"]
        if uid := meta.get("uid"):
            self._uids[uid] = key
        for owner in meta.get("ownerReferences") or ():
            self._owners[owner.get("uid") or ""].add(key)

    def _unindex(self, key: Key, obj: Obj) -> None:
        meta = obj["metadata"]
        self._uids.pop(meta.get("uid") or "", None)
        for owner in meta.get("ownerReferences") or ():
            uid = owner.get("uid") or ""
            self._owners[uid].discard(key)
            if not self._owners[uid]:
                del self._owners[uid]

    def _publish(self, change: Change) -> None:
        self._changes.append(change)
        self._bytes += len(change.encoded)
        while len(self._changes) > self._window or self._bytes > WINDOW_BYTES:
            dropped = self._changes.popleft()
            self._bytes -= len(dropped.encoded)
            self._floor = dropped.revision
        self._undelivered.append(change)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._undelivered:
                current = self._undelivered.popleft()
                for listener in tuple(self._listeners):
                    listener(current)
        finally:
            self._delivering = False


def _place(kind: Kind) -> Place:
    return kind.group, kind.plural


def _details(kind: Kind, name: str) -> dict[str, str]:
    return {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}


def _controlled_by(obj: Obj, uid: str) -> bool:
    return any(o.get("uid") == uid and o.get("controller") for o in obj["metadata"].get("ownerReferences") or ())


def _check(kind: Kind, name: str, current: Obj | None, expect: str | None) -> None:
    if expect is None:
        return
    if expect == "":
        if current is not None:
            raise AlreadyExistsError(f'{kind.resource} "{name}" already exists', details=_details(kind, name))
        return
    if current is None:
        raise NotFoundError(f'{kind.resource} "{name}" not found', details=_details(kind, name))
    if current["metadata"]["resourceVersion"] != expect:
        raise ConflictError(
            f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
            details=_details(kind, name),
        )
