"""The files that a job wrote to its output folder, brought back.

Pods of a moment's life mount the job's volume and write slices of the files to their logs, as large as a node's log
keeps. It works with what every cluster grants a user: pods and their logs. No port, no exec, no storage client. Files
on the notebook's own volume are copied from there; where there is no volume, they are read from the replicas' logs.
What has arrived is kept until all is here and every file's digest is right: a download that was interrupted goes on
where it was.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Final

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import InvalidError, KubeflowError, NotFoundError, UsageError
from jupyterlab_kf.manifests import errands as erranding
from jupyterlab_kf.manifests import training
from jupyterlab_kf.manifests.training import Output
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import errands, logs
from jupyterlab_kf.services.bundle import size as in_words

CHUNK: Final = 6 * 1024 * 1024
"""Bytes a pod sends: as base64 they stay below the 10 MiB at which nodes rotate logs."""
_AT_ONCE: Final = 4
Range = tuple[int, int]
"""First byte, and the one after the last."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One file of a job's output folder.

    Attributes:
        left_out: True for what did not fit into a log; it cannot be had.
    """

    path: str
    size: int
    sha256: str
    left_out: bool = False

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back, and what could not."""

    paths: list[Path]
    left_out: list[ResultFile] = field(default_factory=list)

    @property
    def notice(self) -> str:
        """What to tell of what is missing; else empty."""
        if not self.left_out:
            return ""
        named = ", ".join(f"{one.path} ({in_words(one.size)})" for one in self.left_out[:3])
        more = f" and {len(self.left_out) - 3} more" if len(self.left_out) > 3 else ""  # noqa: PLR2004  those named
        return (
            f"result files were too large for the log and were left out: {named}{more}; give the job a volume to keep "
            "all of them: --volume CLAIM"
        )


async def listing(client: Client, job: Obj) -> list[ResultFile]:
    """The files in a job's output folder, by path.

    Raises:
        UsageError: the job has no output folder.
    """
    if (folder := _here(job)) is not None:
        return await asyncio.to_thread(_listed, folder)
    if not _output(job).claim:
        return (await _printed(client, job))[0]
    lines = await _read(client, job, ["list"])
    if not lines or lines[-1] != "kf-end":
        raise KubeflowError("the list of result files is not complete", hint="try again", ref=Ref.of(job))
    found = (json.loads(line.removeprefix("kf-file ")) for line in lines if line.startswith("kf-file "))
    return [ResultFile(str(entry["path"]), int(entry["size"]), str(entry["sha256"])) for entry in found]


async def fetch(client: Client, job: Obj, folder: Path) -> Fetched:
    """Bring the files into a folder. Files that are there are replaced.

    Raises:
        UsageError: the job has no output folder.
        KubeflowError: what arrived is not what was sent.
    """
    if not _output(job).claim:
        found, content = await _printed(client, job)
        arrival = Arrival(folder, str(meta(job)["uid"])[:8], [one for one in found if not one.left_out])
        await asyncio.to_thread(arrival.take, 0, content)
        await asyncio.to_thread(arrival.finish)
        return Fetched(arrival.paths, [one for one in found if one.left_out])
    files = await listing(client, job)
    arrival = Arrival(folder, str(meta(job)["uid"])[:8], files)
    if (source := _here(job)) is not None:
        await asyncio.to_thread(arrival.copy, source)
        return Fetched(arrival.paths)
    wanted = slices(await asyncio.to_thread(arrival.missing), CHUNK)
    few = asyncio.Semaphore(_AT_ONCE)

    async def bring(one: Range) -> None:
        async with few:
            lines = await _read(client, job, ["send", "--offset", str(one[0]), "--limit", str(one[1] - one[0])])
            content = await asyncio.to_thread(_content, lines, job)
            kept = asyncio.ensure_future(asyncio.to_thread(arrival.take, one[0], content))
            try:
                await asyncio.shield(kept)
            except asyncio.CancelledError:
                await kept  # a thread cannot be stopped, and must not write any more once this has ended
                raise

    tasks = [asyncio.ensure_future(bring(one)) for one in wanted]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        # Their pods are removed before this ends.
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    await asyncio.to_thread(arrival.finish)
    return Fetched(arrival.paths)


def slices(missing: Iterable[Range], longest: int) -> list[Range]:
    """The same bytes in ranges of at most that length; ranges that touch are read together."""
    merged: list[Range] = []
    for first, last in sorted(missing):
        if merged and merged[-1][1] == first:
            merged[-1] = (merged[-1][0], last)
        elif first < last:
            merged.append((first, last))
    return [(at, min(at + longest, last)) for first, last in merged for at in range(first, last, longest)]


def gaps(size: int, done: Iterable[Range]) -> list[Range]:
    """What is missing of so many bytes."""
    found, at = [], 0
    for first, last in sorted(done):
        if at < first:
            found.append((at, first))
        at = max(at, last)
    return [*found, (at, size)] if at < size else found


@dataclass(slots=True)
class Arrival:
    """Files on their way into a folder. All files are seen as one text, in the order of the list.

    What has come lies in a hidden folder beside them with a list of its ranges, until the file is whole and right.

    Attributes:
        folder: where they come.
        mark: whose they are; another job's are not mixed with them.
        files: what comes.
    """

    folder: Path
    mark: str
    files: Sequence[ResultFile]
    _present: set[int] = field(default_factory=set)

    @property
    def paths(self) -> list[Path]:
        """Where the files are in the end."""
        return [self._target(one) for one in self.files]

    def missing(self) -> list[Range]:
        """What has to be read of the whole text."""
        done = self._done()
        found = []
        for number, (one, base) in enumerate(zip(self.files, self._bases(), strict=True)):
            if _same(self._target(one), one):
                self._present.add(number)
                continue
            found += [(base + first, base + last) for first, last in gaps(one.size, done.get(_key(one), ()))]
        return found

    def take(self, offset: int, content: bytes) -> None:
        """Keep a slice of the whole text."""
        self._beside.mkdir(parents=True, exist_ok=True)
        end = offset + len(content)
        for one, base in zip(self.files, self._bases(), strict=True):
            first, last = max(offset, base), min(end, base + one.size)
            if first >= last:
                continue
            part = self._beside / _key(one)
            part.touch()
            with part.open("r+b") as file:
                file.seek(first - base)
                file.write(content[first - offset : last - offset])
            with self._journal.open("a", encoding="ascii") as journal:
                journal.write(f"{_key(one)} {first - base} {last - base}\n")

    def finish(self) -> None:
        """Put every file in its place.

        Raises:
            KubeflowError: one is not what was listed; it will be read again.
        """
        for number, one in enumerate(self.files):
            if number in self._present:
                continue
            part = self._beside / _key(one)
            if not one.size:
                self._beside.mkdir(parents=True, exist_ok=True)
                part.touch()
            if not _same(part, one):
                shutil.rmtree(self._beside, ignore_errors=True)
                raise KubeflowError(
                    f"the result file {one.path} changed while it was read, or arrived damaged",
                    hint="try again; while the job runs its files may change",
                )
            target = self._target(one)
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        shutil.rmtree(self._beside, ignore_errors=True)

    def copy(self, source: Path) -> None:
        """The same from a folder that can be read here."""
        self._beside.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(self.files):
            if _same(self._target(one), one):
                self._present.add(number)
            else:
                shutil.copyfile(source / one.path, self._beside / _key(one))
        self.finish()

    @property
    def _beside(self) -> Path:
        return self.folder / f".kf-download-{self.mark}"

    @property
    def _journal(self) -> Path:
        return self._beside / "journal"

    def _bases(self) -> list[int]:
        return list(accumulate((one.size for one in self.files), initial=0))[:-1]

    def _done(self) -> dict[str, list[Range]]:
        found: dict[str, list[Range]] = {}
        lines = self._journal.read_text(encoding="ascii").splitlines() if self._journal.is_file() else []
        for words in (line.split() for line in lines):
            if len(words) == 3 and words[1].isdigit() and words[2].isdigit():  # noqa: PLR2004  the last may be torn
                found.setdefault(words[0], []).append((int(words[1]), int(words[2])))
        return found

    def _target(self, one: ResultFile) -> Path:
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts:
            raise KubeflowError(f"the result file {one.path!r} would be written outside of {self.folder}")
        return self.folder / path


def _key(one: ResultFile) -> str:
    return f"{hashlib.sha256(one.path.encode()).hexdigest()[:16]}-{one.sha256[:16]}"


def _same(path: Path, one: ResultFile) -> bool:
    return path.is_file() and path.stat().st_size == one.size and _digest(path) == one.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(folder: Path) -> list[ResultFile]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [ResultFile(path.relative_to(folder).as_posix(), path.stat().st_size, _digest(path)) for path in found]


def _content(lines: Sequence[str], job: Obj) -> bytes:
    """The bytes that a pod sent.

    Raises:
        KubeflowError: they are not all there, or not as they were.
    """
    if not lines or not lines[-1].startswith("kf-end "):
        said = lines[-1][:200] if lines else "nothing"
        raise KubeflowError(f"the result files did not arrive; the last line was: {said}", ref=Ref.of(job))
    try:
        packed = b"".join(
            base64.b64decode(line.removeprefix("kf-data ")) for line in lines if line.startswith("kf-data ")
        )
        content = zlib.decompress(packed)
    except (ValueError, zlib.error):
        content = b""
    if hashlib.sha256(content).hexdigest() != json.loads(lines[-1].removeprefix("kf-end "))["sha256"]:
        raise KubeflowError("a part of the result files arrived damaged", hint="try again", ref=Ref.of(job))
    return content


def _output(job: Obj) -> Output:
    output = training.output_of(job)
    if output is None:
        raise UsageError(
            f"{Ref.of(job)} has no output folder",
            hint="give one with --output DIR when the job is made",
            ref=Ref.of(job),
        )
    return output


def _here(job: Obj) -> Path | None:
    """The output folder in this process' own file system, when it is on the notebook's own volume."""
    output, own = _output(job), settings.load().workspace
    return own.folder / output.folder if own is not None and own.claim == output.claim else None


async def _read(client: Client, job: Obj, arguments: list[str]) -> list[str]:
    """The lines that a reader pod writes, which is gone afterwards."""
    mark = uuid.uuid4().hex[:8]
    name = names.with_suffix(str(meta(job)["name"]), f"reader-{mark}")
    return await errands.run(client, erranding.reader(job, name, mark, arguments))


async def _printed(client: Client, job: Obj) -> tuple[list[ResultFile], bytes]:
    """The files that the job's replicas printed, and their content in that order. Of two of one name the first counts.

    Raises:
        KubeflowError: no replica printed any, or a log is not whole any more.
    """
    space = str(meta(job)["namespace"])
    found = training.replicas(job, await client.list(kinds.POD, space, selector=training.pod_selector(job)))
    files: dict[str, tuple[ResultFile, bytes]] = {}
    ends = 0
    for replica in found:
        if not replica.pod:
            continue
        lines: dict[str, list[str]] = {}
        try:
            async for raw in client.logs(space, replica.pod, container=training.container_of(job)):
                line = logs.parse(raw, replica.name, stamped=False)
                if logs.packed(line):
                    lines.setdefault(line.replica, []).append(line.text)
        except (NotFoundError, InvalidError):  # it is gone, or has not started
            continue
        for name, texts in lines.items():
            ends += 1
            for one in await asyncio.to_thread(_unpacked, texts, name, job):
                files.setdefault(one[0].path, one)
    if not ends:
        raise KubeflowError(
            f"the logs of {Ref.of(job)} have no result files",
            hint="replicas print them when they succeed, and logs go with their pods; on a volume they would be kept: "
            "--volume CLAIM",
            ref=Ref.of(job),
        )
    ordered = [files[path] for path in sorted(files)]
    return [one for one, _ in ordered], b"".join(content for _, content in ordered)


def _unpacked(texts: Sequence[str], replica: str, job: Obj) -> list[tuple[ResultFile, bytes]]:
    end = json.loads(texts[-1].removeprefix("kf-end ")) if texts[-1].startswith("kf-end ") else {}
    try:
        raw = b"".join(base64.b64decode(text.removeprefix("kf-data ")) for text in texts[:-1])
    except ValueError:
        raw = b""
    if hashlib.sha256(raw).hexdigest() != end.get("sha256"):
        raise KubeflowError(
            f"the result files in the log of {replica} are not whole: its node has thrown a part away",
            hint="logs are kept up to some 10 MB; give the job a volume: --volume CLAIM",
            ref=Ref.of(job),
        )
    found: list[tuple[ResultFile, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as tar:
        for entry in tar:
            content = (tar.extractfile(entry) or io.BytesIO()).read()
            digest = hashlib.sha256(content).hexdigest()
            found.append((ResultFile(entry.name, len(content), digest), content))
    return found + [(ResultFile(name, size, "", left_out=True), b"") for name, size in end["left"]]
