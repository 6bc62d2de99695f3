"""What is written in one turn of the loop leaves in one piece, and nothing is left behind at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jupyterlab_kf.runtime.serving.wholes import Whole


class Wire:
    """A transport that keeps what it was handed."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def writelines(self, parts: Sequence[bytes]) -> None:
        self.sent.append(b"".join(parts))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return name


async def test_head_and_body_leave_together_and_the_next_answer_by_itself() -> None:
    wire = Wire()
    whole = Whole(wire)
    whole.write(b"head ")
    whole.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    whole.write(b"next")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"next"]
    assert whole.get_extra_info("peername") == "peername"


async def test_what_is_closed_says_first_what_it_had_to_say() -> None:
    wire = Wire()
    whole = Whole(wire)
    whole.write(b"last words")
    whole.close()
    whole.write(b"too late")
    await asyncio.sleep(0)
    assert wire.sent == [b"last words"]
