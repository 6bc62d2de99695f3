"""What commands say, on standard output; and what a command is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

from jupyterlab_kf.magics.arguments import Parser

Command: TypeAlias = Callable[[argparse.Namespace], int]
"""Does what was asked for; the exit status."""
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001  argparse has no other name for it
"""Where a command's parser is added."""
Row: TypeAlias = tuple[str, Callable[[str], Parser], Command, str]
"""A command whose words are a magic's: name, parser for a program's name, deed, one line of help."""
PROG: Final = "jupyter kf"


def say(text: str) -> None:
    """A line, or several."""
    sys.stdout.write(f"{text}\n")


def say_at_once(text: str) -> None:
    """A line that somebody waits for, also behind a pipe."""
    say(text)
    sys.stdout.flush()
