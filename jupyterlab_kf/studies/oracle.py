"""The suggestion service: a worker process that answers what to try next.

The algorithms' libraries take seconds to import and an answer may take a tenth of one, which no event loop should wait
for. The worker is started at the first question, ends after a minute without one, and ends by itself when this process
does, as its input closes. A question that kills it, or is not answered in time, is asked again by the manager later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.errors import ClusterError
from jupyterlab_kf.settings import inherited

_IDLE: Final = 60.0
_PATIENCE: Final = 120.0
_LONGEST_ANSWER: Final = 64 * 2**20
_log = logging.getLogger(__name__)


class Oracle:
    """Answers questions, one at a time.

    Args:
        idle: seconds without a question after which the worker ends.
        patience: seconds that an answer may take.
    """

    def __init__(self, *, idle: float = _IDLE, patience: float = _PATIENCE) -> None:
        self._idle, self._patience = idle, patience
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[int]] = set()

    async def __call__(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer.

        Raises:
            ClusterError: the worker died or took too long.
        """
        async with self._lock:
            if self._timer:
                self._timer.cancel()
            process = await self._running()
            answered = False
            try:
                answer = await asyncio.wait_for(_exchange(process, question), self._patience)
                answered = True
            except TimeoutError:
                raise ClusterError(f"no suggestion within {self._patience:.0f} s") from None
            except (ConnectionError, ValueError) as error:
                raise ClusterError(f"the suggestion service ended: {error}") from error
            finally:
                if answered:
                    self._timer = asyncio.get_running_loop().call_later(self._idle, self._end)
                else:  # also when cancelled: an answer that nobody took would be the next question's
                    self._end()
            return answer

    async def close(self) -> None:
        """End the worker."""
        if self._timer:
            self._timer.cancel()
        self._end()
        await asyncio.gather(*self._ending)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "jupyterlab_kf.suggestions",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_ANSWER,
                env=inherited({"OPENBLAS_NUM_THREADS": "1"}),  # small matrices; the other processors are the trials'
            )
            _log.info("the suggestion service runs as pid %d", self._process.pid)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()  # it keeps nothing
            task = asyncio.get_running_loop().create_task(process.wait())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _exchange(process: asyncio.subprocess.Process, question: Mapping[str, Any]) -> Mapping[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise ConnectionError("it has no pipes")
    process.stdin.write(json.dumps(question).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        raise ConnectionError("it said nothing")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ConnectionError(f"it said {line[:100]!r}")
    return answer
