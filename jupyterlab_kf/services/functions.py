"""A function or class as a file of its own: its source and that of everything of the user's that it uses.

Found by reading syntax trees, in the order in which a file needs them: imports, constants, helpers, the function.
Refuses closures and values that are not plain data, by name, because the alternative is to pickle a kernel's state
and hope that the other side has the same.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import symtable
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType

from jupyterlab_kf.errors import BundleError, UsageError

_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Extracted:
    """A function's name and a module's source text that defines it."""

    name: str
    source: str


@dataclass(slots=True)
class _Pieces:
    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    visiting: set[str] = field(default_factory=set)


def extract(function: Callable[..., object], params: Mapping[str, object]) -> Extracted:
    """The function as a module's source, to be called with the parameters as keyword arguments.

    Raises:
        BundleError: it is not a plain function, or it uses what cannot be shipped as source.
        UsageError: the parameters do not fit its signature.
    """
    if not isinstance(function, FunctionType):
        raise BundleError(
            f"{function!r} is not a plain function", hint="pass a function made by def, a script's path, or source text"
        )
    name = function.__name__
    if name == "<lambda>":
        raise BundleError("a lambda has no source of its own to ship", hint="write it as def name(...): ...")
    if function.__closure__:
        free = ", ".join(function.__code__.co_freevars)
        raise BundleError(
            f"function {name!r} is a closure over {free}", hint=f"make them parameters: def {name}({free}, ...)"
        )
    if "." in function.__qualname__ and "<locals>" not in function.__qualname__:
        raise BundleError(f"{function.__qualname__} is a method", hint="write a function that makes the object itself")
    try:
        inspect.signature(function).bind(**params)
    except TypeError as error:
        raise UsageError(f"the parameters do not fit {name}{inspect.signature(function)}: {error}") from error
    return _extracted(name, function)


def extract_class(value: type) -> Extracted:
    """A class of the notebook's own as a module's source, with everything of the user's that it uses.

    Raises:
        BundleError: it was made inside a function, or it uses what cannot be shipped as source.
    """
    if "<locals>" in value.__qualname__ or "." in value.__qualname__:
        raise BundleError(
            f"class {value.__qualname__} is defined inside something else",
            hint="define it at the top of a cell or file",
        )
    return _extracted(value.__name__, value)


def _extracted(name: str, value: FunctionType | type) -> Extracted:
    pieces = _Pieces()
    _define(name, value, pieces)
    blocks = ["\n".join(pieces.imports.values()), "\n".join(pieces.constants.values()), *pieces.definitions.values()]
    # Annotations may name types that only exist in the notebook; they are not evaluated.
    header = "from __future__ import annotations\n"
    return Extracted(name, header + "\n\n".join(block.rstrip() for block in blocks if block) + "\n")


def _define(name: str, value: FunctionType | type, pieces: _Pieces) -> None:
    if name in pieces.visiting:
        return
    pieces.visiting.add(name)
    source = _source(value)
    scope = value.__globals__ if isinstance(value, FunctionType) else _globals_of(value)
    for used in _names(source):
        if used != name and used in scope:
            _need(used, scope[used], name, pieces)
    pieces.definitions[name] = source


def _need(name: str, value: object, user: str, pieces: _Pieces) -> None:
    if isinstance(value, ModuleType):
        pieces.imports[name] = f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")
    elif isinstance(value, (FunctionType, type)) and _is_users(value):
        _define(name, value, pieces)
        if value.__name__ != name:
            pieces.definitions[f"{name} ="] = f"{name} = {value.__name__}\n"
    elif _importable(value):
        module, attribute = str(value.__module__), str(getattr(value, "__qualname__", name))
        pieces.imports[name] = f"from {module} import {attribute}" + (f" as {name}" if attribute != name else "")
    elif _is_plain(value):
        pieces.constants[name] = f"{name} = {value!r}"
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise BundleError(
            f"{user!r} uses {name!r}, a {kind}, which is not plain data",
            hint=f"make or load {name!r} inside {user!r}, or pass what it is made of as a parameter",
        )


def _is_users(value: FunctionType | type) -> bool:
    """True for what the notebook or script itself defined, as against something that can be imported."""
    return value.__module__ == "__main__" or "<locals>" in value.__qualname__


def _importable(value: object) -> bool:
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return isinstance(module, str) and isinstance(name, str) and name.isidentifier() and module != "__main__"


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in _PLAIN


def _names(source: str) -> list[str]:
    """Names that the source takes from outside itself: globals of its functions, and what stands at its top level.

    A name that a function binds (a local variable, an argument, an import of its own) is not one of them, whatever the
    notebook has under that name.
    """
    top = symtable.symtable("from __future__ import annotations\n" + source, "<function>", "exec")
    seen: dict[str, None] = {}
    tables = [top]
    while tables:
        table = tables.pop(0)
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table is top):
                seen.setdefault(symbol.get_name())
    return list(seen)


def _source(value: FunctionType | type) -> str:
    try:
        text = _class_source(value) if isinstance(value, type) else inspect.getsource(value)
    except (OSError, TypeError) as error:
        raise BundleError(
            f"the source of {value.__qualname__} cannot be found", hint="define it in a cell or in a file"
        ) from error
    return textwrap.dedent(text)


def _class_source(value: type) -> str:
    """A class's source; inspect cannot find classes that a notebook's cell defined, their methods know the cell."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        code = next((m.__code__ for m in vars(value).values() if isinstance(m, FunctionType)), None)
        if not isinstance(code, CodeType):
            raise
    lines = linecache.getlines(code.co_filename)
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.ClassDef) and node.name == value.__name__:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join(lines[first - 1 : node.end_lineno])
    raise OSError(f"class {value.__name__} is not in {code.co_filename}")


def _globals_of(value: type) -> Mapping[str, object]:
    for member in vars(value).values():
        if isinstance(member, FunctionType):
            return member.__globals__
    return {}
