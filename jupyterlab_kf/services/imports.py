"""What Python source imports, read from its syntax: each import with its line, and whether the code can do without.

Nothing is imported here. An import that is tried (``try: ... except ImportError``) or that only a type checker sees is
optional: the code has said what it does without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_SURVIVED: Final = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One module that a file may import: ``from a import b`` may mean the module ``a.b``.

    Attributes:
        module: the dotted name, made absolute.
        file: the file's path in the bundle.
        line: where the statement begins.
        optional: the code goes on without it.
        relative: written with leading dots; never another package's.
    """

    module: str
    file: str
    line: int
    optional: bool = False
    relative: bool = False

    @property
    def top(self) -> str:
        """The name that has to be found on ``sys.path``."""
        return self.module.partition(".")[0]


def imports_of(tree: ast.Module, file: str) -> Iterator[Import]:
    """The imports of a file, in the order in which they stand."""
    return _within(tree.body, file, optional=False)


def _within(nodes: list[ast.stmt] | list[ast.AST], file: str, *, optional: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _named(node, file, optional=optional)
            continue
        spared = optional or (isinstance(node, (ast.Try, ast.TryStar)) and _survives(node))
        if isinstance(node, ast.If) and _for_type_checkers(node.test):
            yield from _within([*node.body], file, optional=True)
            yield from _within([*node.orelse], file, optional=spared)
            continue
        yield from _within([*ast.iter_child_nodes(node)], file, optional=spared)


def _named(node: ast.Import | ast.ImportFrom, file: str, *, optional: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, file, node.lineno, optional)
        return
    base = node.module or ""
    if node.level:
        package = PurePosixPath(file).parent.parts
        above = package[: len(package) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    for name in [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]:
        if name:
            yield Import(name, file, node.lineno, optional, relative=bool(node.level))


def _survives(node: ast.Try | ast.TryStar) -> bool:
    """Whether a handler takes the error of a missing module."""
    for handler in node.handlers:
        caught = handler.type
        if caught is None:
            return True
        for one in caught.elts if isinstance(caught, ast.Tuple) else [caught]:
            name = one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "")
            if name in _SURVIVED:
                return True
    return False


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
