"""A mapping of a YAML file that knows its lines: values are taken key by key, and faults are gathered, not raised.

Works on composed nodes: nothing is constructed, so text stays as it was written. Anchors and ``<<`` work; keys that
begin with ``x-`` are passed over.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError

Node: TypeAlias = Any
"""``yaml.Node``, whose stubs do not know ``id``."""

_MEBI: Final = 2**20
_WHOLE: Final = "tag:yaml.org,2002:int"
_NULL: Final = "tag:yaml.org,2002:null"
_FLAG: Final = "tag:yaml.org,2002:bool"
_MERGE: Final = "tag:yaml.org,2002:merge"
_YES: Final = frozenset({"true", "yes", "on"})


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a file. Lines count from 1; 0 is the file as a whole."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


def nearest(word: str, known: Sequence[str]) -> str:
    """What to say of a word that is not among those known: the nearest, or all."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


class Section:
    """A mapping of the file, read key by key; what is wrong goes to the list of problems, and a default comes back."""

    def __init__(self, node: Node, what: str, keys: Sequence[str] | None, problems: list[Problem]) -> None:
        self._node = node
        self._what = what
        self._problems = problems
        self._values: dict[str, Node] = {}
        self._lines: dict[str, int] = {}
        if node.id != "mapping":
            self.complain(f"{what} is a mapping of names to values")
            return
        self._take(node, keys)

    def _take(self, node: Node, keys: Sequence[str] | None) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if key.tag == _MERGE:
                for merged in value.value if value.id == "sequence" else [value]:
                    if merged.id == "mapping":
                        earlier = dict(self._values)
                        self._take(merged, keys)
                        self._values |= earlier
            elif name in seen:
                self.complain(f"{name!r} stands here twice", line)
            elif keys is None or name in keys:
                self._values[name] = value
                self._lines[name] = line
            elif not name.startswith("x-"):
                self.complain(f"{self._what} has no key {name!r}; {nearest(name, keys)}", line)
            seen.add(name)

    def __contains__(self, key: str) -> bool:
        return key in self._values and self._values[key].tag != _NULL

    @property
    def line(self) -> int:
        """Where the mapping begins."""
        return int(self._node.start_mark.line) + 1

    def complain(self, message: str, line: int | None = None) -> None:
        """Note what is wrong, at a line or at the mapping's first."""
        self._problems.append(Problem(self.line if line is None else line, message))

    def wrong(self, key: str, message: str) -> None:
        """Note what is wrong with a key's value."""
        self.complain(message, self._lines.get(key))

    def keys(self) -> list[str]:
        """The keys that have a value."""
        return [key for key in self._values if key in self]

    def scalar(self, key: str) -> str:
        """The value as it was written; empty where there is none."""
        if key not in self:
            return ""
        node = self._values[key]
        if node.id != "scalar":
            self.wrong(key, f"{key!r} is one value, not a list or a mapping")
            return ""
        return str(node.value)

    def is_scalar(self, key: str) -> bool:
        """Whether the key has one plain value."""
        return key in self and self._values[key].id == "scalar"

    def checked(self, key: str, rule: Callable[[str], object]) -> str:
        """The value, if the rule does not refuse it."""
        text = self.scalar(key)
        if text:
            try:
                rule(text)
            except UsageError as error:
                self.wrong(key, f"{key!r}: {error.message}")
                return ""
        return text

    def flag(self, key: str) -> bool:
        """A yes or no; no where there is none."""
        if key in self and self._values[key].tag != _FLAG:
            self.wrong(key, f"{key!r} is true or false, not {self.scalar(key)!r}")
            return False
        return self.scalar(key).lower() in _YES

    def whole(self, key: str, *, least: int = 0) -> int | None:
        """A whole number of at least so much; None where there is none."""
        if key not in self:
            return None
        text = self.scalar(key)
        if self._values[key].tag != _WHOLE or not re.fullmatch(r"[+-]?\d+", text) or int(text) < least:
            self.wrong(key, f"{key!r} is a whole number of at least {least}, not {text!r}")
            return None
        return int(text)

    def quantity(self, key: str, resource: str) -> str:
        """A quantity of CPU or bytes in its canonical form; empty where there is none."""
        text = self.scalar(key)
        if not text:
            return ""
        try:
            value = quantities.parse(text)
        except UsageError:
            self.wrong(key, f"{key!r}: {text!r} is not a quantity; write 500m, 2, 512Mi or 4Gi")
            return ""
        if value <= 0:
            self.wrong(key, f"{key!r} is {text}; it must be more than zero")
            return ""
        if resource == "memory" and value < _MEBI:
            self.wrong(key, f"{key!r} is {text}, which is less than a megabyte; give a unit, such as 512Mi or 4Gi")
            return ""
        return quantities.canonical(text)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        if key not in self:
            return ()
        node = self._values[key]
        items = node.value if node.id == "sequence" else [node]
        if any(item.id != "scalar" or item.tag == _NULL for item in items):
            self.wrong(key, f"{key!r} is a list of texts")
            return ()
        return tuple(str(item.value) for item in items)

    def pairs(self, key: str, rule: Callable[[str, str], object]) -> tuple[tuple[str, str], ...]:
        """A mapping of texts to texts, each pair of which the rule does not refuse."""
        if key not in self:
            return ()
        inner = Section(self._values[key], f"{key!r}", None, self._problems)
        found = []
        for name in inner.keys():  # noqa: SIM118  not a mapping
            value = inner.scalar(name)
            try:
                rule(name, value)
            except UsageError as error:
                inner.wrong(name, error.message)
            else:
                found.append((name, value))
        return tuple(found)

    def section(self, key: str, what: str, keys: Sequence[str] | None) -> Section | None:
        """The mapping under a key."""
        return Section(self._values[key], what, keys, self._problems) if key in self else None

    def sections(self, key: str, what: str, keys: Sequence[str]) -> list[Section]:
        """The mappings of the list under a key; one mapping alone is a list of one."""
        if key not in self:
            return []
        node = self._values[key]
        if node.id == "scalar":
            self.wrong(key, f"{key!r} is a list")
            return []
        items = node.value if node.id == "sequence" else [node]
        return [Section(item, what, keys, self._problems) for item in items]
