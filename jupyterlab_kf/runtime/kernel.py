"""Runs a Jupyter kernel in a pod and obeys whoever asked for it. Standard library only; shipped beside kernel.json.

    kernel.py      start the kernel that kernel.json describes, and stay until told to end

The kernel is a child in a process group of its own: it can be interrupted, killed and started again while the pod, its
place and its GPUs stay. Orders come over a port of their own, as lines of JSON that are signed with the token in
kernel.json, and every change of the kernel is told there. Who is alone and idle for too long ends by itself, and after
a longer time also who computes: its notebook server does not come back. When a client has shut the kernel down and
left, as a console does, the end is soon. What the kernel writes is the pod's log; keys and tokens are never written
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(os.path.abspath(__file__)).parent  # noqa: PTH100  in a pod these are links
HELLO = 10.0  # seconds for a caller to say who it is
END = 2.0  # seconds between SIGTERM and SIGKILL
LOOK = 0.05
GONE = 10.0  # seconds in which whoever is to start an ended kernel again comes back
LONGEST = 1 << 20  # bytes of an order
SMALL = 1 << 12  # bytes of a part of a message that is read; states are told in smaller ones
OUT_OF_MEMORY = (
    ("/sys/fs/cgroup/memory.events", "oom_kill"),
    ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
)


class Refused(Exception):  # noqa: N818  it says what happened
    """A line that is not signed by who has the token."""


class Wire:
    """Lines of JSON, each with a signature that holds for this connection, this direction and this place in it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> None:
        self.reader, self.writer, self.secret = reader, writer, secret
        self.sent = self.received = 0

    def send(self, value: dict[str, Any]) -> None:
        """Tell something."""
        body = json.dumps(value)
        self.writer.write(f"{self.sign('agent', self.sent, body)} {body}\n".encode())
        self.sent += 1

    async def receive(self) -> dict[str, Any] | None:
        """The next order, or None at the end."""
        line = (await self.reader.readline()).decode()
        if not line.endswith("\n"):
            return None
        mac, _, body = line.rstrip("\n").partition(" ")
        if not hmac.compare_digest(mac, self.sign("server", self.received, body)):
            raise Refused
        self.received += 1
        value = json.loads(body)
        return value if isinstance(value, dict) else {}

    def sign(self, who: str, number: int, body: str) -> str:
        """The signature of a line."""
        return hmac.new(self.secret, f"{who} {number} {body}".encode(), hashlib.sha256).hexdigest()


class Ear:
    """Whether the kernel computes, by what it tells everybody: a subscriber of its channel ``iopub`` (ZMTP 3.0).

    A kernel that encrypts what it says is not understood, and counts as idle.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.computing: set[str] = set()
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self, host: str, port: int) -> bool:
        """Subscribe; False when what answers cannot be understood."""
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self.writer.write(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
        greeting = await self.reader.readexactly(64)
        if greeting[12:32].rstrip(b"\0") != b"NULL":
            return False
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
        self.writer.write(bytes([4, len(ready)]) + ready + bytes([0, 1, 1]))
        return True

    async def follow(self) -> None:
        """Hear everything, until the connection ends."""
        assert self.reader is not None
        message: list[bytes] = []
        while True:
            flags = (await self.reader.readexactly(1))[0]
            size = int.from_bytes(await self.reader.readexactly(8 if flags & 2 else 1), "big")
            kept = await self.part(self.reader, size)
            if not flags & 4:
                message.append(kept)
                if not flags & 1:
                    self.hear(message)
                    message = []

    @staticmethod
    async def part(reader: asyncio.StreamReader, size: int) -> bytes:
        """A part of a message; of a large one nothing."""
        if size <= SMALL:
            return await reader.readexactly(size)
        while size:
            size -= len(await reader.readexactly(min(size, 1 << 15)))
        return b""

    def hear(self, message: list[bytes]) -> None:
        """Take a message of Jupyter's protocol: what is asked is computed from ``busy`` to ``idle``."""
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            _, header, parent, _, content = message[message.index(b"<IDS|MSG>") + 1 :][:5]
            if json.loads(header)["msg_type"] != "status":
                return
            state, cause = json.loads(content)["execution_state"], str(json.loads(parent).get("msg_id"))
            before = bool(self.computing)
            (self.computing.add if state == "busy" else self.computing.discard)(cause)
            if bool(self.computing) != before:
                self.changed()

    def close(self) -> None:
        """Hear no more."""
        self.computing.clear()
        if self.writer is not None:
            self.writer.close()


class Agent:
    """The kernel's process and who may command it."""

    def __init__(self, spec: dict[str, Any], environ: dict[str, str], moved: dict[str, int]) -> None:
        self.spec = spec
        # Where pods share one machine, each has an address of its own. Else the network is the pod's own, and what the
        # API server forwards arrives at 127.0.0.1.
        address = environ.get("POD_IP") or ""
        self.ip = address if address.startswith("127.") else "0.0.0.0"
        self.ports = {name: int(moved.get(str(port), port)) for name, port in spec["ports"].items()}
        self.port = int(moved.get(str(spec["agent_port"]), spec["agent_port"]))
        self.environ = environ
        self.added: dict[str, str] = dict(spec.get("env") or {})
        self.folder = Path(tempfile.mkdtemp(prefix="kernel-"))
        self.process: asyncio.subprocess.Process | None = None
        self.peers: set[Wire] = set()
        self.state: dict[str, Any] = {"state": "starting", "run": 0}
        self.over: asyncio.Event = asyncio.Event()
        self.alone: asyncio.TimerHandle | None = None
        self.alone_since = self.idle_since = 0.0
        self.ear = Ear(self._changed)
        self.following: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Everything, until the end; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.over.set)
        server = await asyncio.start_server(self._serve, self.ip, self.port, limit=LONGEST)
        try:
            self._count_down()
            self._start(0)
            await self.over.wait()
        finally:
            server.close()
            await self._end()
            shutil.rmtree(self.folder, ignore_errors=True)
        code = self.state.get("code")
        return 0 if code is None or code < 0 else int(code)

    # The kernel

    def _start(self, run: int) -> None:
        self.following = asyncio.get_running_loop().create_task(self._follow(run))

    async def _follow(self, run: int) -> None:
        """One run of the kernel, from its start to its end."""
        self._tell(state="starting", run=run)
        killed = out_of_memory()
        try:
            self.process = await self._spawn()
        except OSError as error:
            sys.stderr.write(f"kernel.py: {self.spec['argv'][0]} cannot be started: {error}\n")
            self._tell(state="exited", run=run, code=127)
            return
        process = self.process
        ready = asyncio.get_running_loop().create_task(self._ready(run))
        code = await process.wait()
        ready.cancel()
        self.ear.close()
        self._changed()
        # What it started is of no use without it, and may hold the GPU's memory.
        signal_group(process.pid, signal.SIGKILL)
        oom = code == -signal.SIGKILL and out_of_memory() > killed
        self._tell(state="exited", run=run, code=code, **({"oom": True} if oom else {}))

    async def _spawn(self) -> asyncio.subprocess.Process:
        file = self.folder / "kernel-connection.json"
        connection = {**self.spec["connection"], **self.ports, "ip": self.ip, "transport": "tcp"}
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            json.dump(connection, opened)
        argv = [word.replace("{connection_file}", str(file)) for word in self.spec["argv"]]
        folder = self.folder_of_notebook()
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": str(self.folder), **self.environ, **self.added},
            start_new_session=True,
        )

    def folder_of_notebook(self) -> str | None:
        """The notebook's own folder, where it can be seen from here."""
        folder = str(self.spec.get("cwd") or "")
        return folder if Path(folder or "/nowhere").is_dir() else None

    async def _ready(self, run: int) -> None:
        host = "127.0.0.1" if self.ip == "0.0.0.0" else self.ip
        for port in self.ports.values():
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    await asyncio.sleep(LOOK)
                else:
                    writer.close()
                    break
        self.ear = ear = Ear(self._changed)
        understood = False
        with contextlib.suppress(OSError, EOFError):
            understood = await ear.open(host, self.ports["iopub_port"])
        # Not before: nobody has asked it anything yet.
        self._tell(state="running", run=run)
        with contextlib.suppress(OSError, EOFError):
            if understood:
                await ear.follow()

    async def _end(self) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        signal_group(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END)
        except asyncio.TimeoutError:  # noqa: UP041  not the same before Python 3.11
            signal_group(process.pid, signal.SIGKILL)
            await process.wait()

    # Orders

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = None
        try:
            wire = await asyncio.wait_for(self._greet(reader, writer), HELLO)
            self.peers.add(wire)
            self._count_down()
            wire.send({**self.state, "busy": bool(self.ear.computing)})
            while (order := await wire.receive()) is not None:
                await self._obey(order)
        except (TimeoutError, Refused, OSError, ValueError):
            # Whoever it is learns nothing; who has the token comes again.
            pass
        finally:
            if wire is not None:
                self.peers.discard(wire)
                self._count_down()
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
        ours = secrets.token_hex(16)
        writer.write(f"{ours}\n".encode())
        theirs = (await reader.readline()).decode().strip()
        secret = hmac.new(self.spec["token"].encode(), f"{ours} {theirs}".encode(), hashlib.sha256).digest()
        wire = Wire(reader, writer, secret)
        if await wire.receive() is None:
            raise Refused
        return wire

    async def _obey(self, order: dict[str, Any]) -> None:
        what, process = order.get("order"), self.process
        if what == "signal" and process is not None and process.returncode is None:
            signal_group(process.pid, int(order["number"]))
        elif what == "start":
            await self._end()
            if self.following is not None:
                await self.following
            self.added.update(order.get("env") or {})
            self._start(int(order["run"]))
        elif what == "end":
            self.over.set()

    def _tell(self, **state: Any) -> None:
        self.state = state
        for peer in list(self.peers):
            with contextlib.suppress(OSError):
                peer.send(state)

    def _changed(self) -> None:
        """The kernel begins to compute, or has nothing to do any more."""
        self.idle_since = asyncio.get_running_loop().time()
        self._count_down()

    def _count_down(self) -> None:
        """Wait for somebody as long as nobody is there."""
        loop = asyncio.get_running_loop()
        if self.alone is not None:
            self.alone.cancel()
            self.alone = None
        elif not self.peers:
            self.alone_since = loop.time()
        if not self.peers:
            ended = self.process is not None and self.process.returncode is not None
            busy = bool(self.ear.computing)
            rest = remaining(self.spec, loop.time(), self.alone_since, self.idle_since, busy=busy, ended=ended)
            self.alone = loop.call_later(max(rest, 0.0), self._give_up)

    def _give_up(self) -> None:
        seconds = asyncio.get_running_loop().time() - self.alone_since
        sys.stderr.write(f"kernel.py: nobody asked for this kernel for {seconds:.0f} s: it is ended\n")
        self.over.set()


def remaining(spec: dict[str, Any], now: float, alone: float, idle: float, *, busy: bool, ended: bool) -> float:
    """Seconds until a pod ends that is alone since one time, its kernel busy, or idle or ended since another."""
    allowed = min(float(spec["alone_for"]), GONE) if ended else float(spec["alone_for"])
    if busy:
        return alone + max(allowed, float(spec.get("alone_busy_for") or 0)) - now
    return max(alone, idle) + allowed - now


def signal_group(group: int, number: int) -> None:
    """A signal to a process and all that it started in its group; nothing if they are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def out_of_memory() -> int:
    """How many processes the system has ended in this container because it was out of memory."""
    for path, key in OUT_OF_MEMORY:
        with contextlib.suppress(OSError, ValueError, KeyError):
            pairs = dict(line.split() for line in Path(path).read_text(encoding="ascii").splitlines())
            return int(pairs[key])
    return 0


def environment(spec: dict[str, Any], environ: dict[str, str]) -> dict[str, str]:
    """What the kernel sees. Settings that name files of the server's machine hold where those files can be seen."""
    own = {name: value for name, value in environ.items() if name != "KF_PORTS"}
    if not os.access(own.get("HOME") or "/", os.W_OK):
        # A user without a home in this image: the kernel gets a folder that it can write.
        own.pop("HOME", None)
    here = spec.get("here") or {}
    seen = here.get("path") and Path(here["path"]).exists()
    return {**own, **(here.get("env") or {} if seen else {})}


def main() -> int:
    """Run the kernel beside this file."""
    spec = json.loads((HERE / "kernel.json").read_text(encoding="utf-8"))
    # Where all pods share one machine, its node gives out other ports than those that are declared.
    moved = json.loads(os.environ.get("KF_PORTS") or "{}")

    async def whole() -> int:
        return await Agent(spec, environment(spec, dict(os.environ)), moved).run()

    return asyncio.run(whole())


if __name__ == "__main__":
    sys.exit(main())
