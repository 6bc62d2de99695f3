"""What a job runs, packed: the user's code byte for byte, the local modules it imports, and the files asked for.

Owns the finding (import closure by reading the syntax, never by importing), the checks (syntax, notebook-only lines,
secrets, size) and the packing (the same content gives the same archive). It refuses rather than guesses: each refusal
names file and line. Nothing is executed here and no kernel state is pickled.
"""

from __future__ import annotations

import ast
import fnmatch
import gzip
import hashlib
import io
import json
import math
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.services import functions, notebooks, packages
from jupyterlab_kf.services.imports import Import, imports_of
from jupyterlab_kf.services.notebooks import Program

_QUICK: Final = 16 * 1024 * 1024
_SAMPLES, _SAMPLE = 16, 1 << 16
_LARGEST_FILE: Final = 64 * 1024 * 1024

_SKIPPED_FOLDERS: Final = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules", ".mypy_cache"}
_SECRET_NAMES: Final = (
    (".env", "environment files hold passwords"),
    (".env.*", "environment files hold passwords"),
    ("*.pem", "it looks like a private key or certificate"),
    ("*.key", "it looks like a private key"),
    ("*.p12", "it looks like a key store"),
    ("*.pfx", "it looks like a key store"),
    ("id_rsa*", "it looks like an SSH key"),
    ("id_dsa*", "it looks like an SSH key"),
    ("id_ecdsa*", "it looks like an SSH key"),
    ("id_ed25519*", "it looks like an SSH key"),
    ("kubeconfig*", "it looks like a cluster's credentials"),
    ("*.kubeconfig", "it looks like a cluster's credentials"),
    (".netrc", "it holds passwords"),
    (".pypirc", "it holds passwords"),
    (".git-credentials", "it holds passwords"),
)
_SECRET_LINES: Final = (
    (re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key begins there"),
    (re.compile(rb'"type"\s*:\s*"service_account"'), "it looks like a service account's key file"),
    # They begin with letters, and look back at the edge of the word: so large files are searched thirty times faster.
    (re.compile(rb"client-key-data(?<=\bclient-key-data)\s*:\s*\S"), "it looks like a kubeconfig's key"),
    (re.compile(rb"A[KS]IA(?<=\bA[KS]IA)[0-9A-Z]{16}\b"), "an AWS access key stands there"),
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Code ready to be shipped.

    Attributes:
        main: path in ``files`` of the file that runs.
        filename: the name that tracebacks show for it.
        first_line: the number of its first line in tracebacks (a cell's code begins below its magic).
        call: the function to call once it has run; empty for scripts and cells.
        files: relative path to content.
        imports: what the code imports and is not in the bundle.
        paths: folders of the bundle that come first on ``sys.path``.
        program: the notebook whose cells the main file has; None for everything else.
    """

    main: str
    filename: str
    first_line: int = 1
    call: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    imports: tuple[Import, ...] = ()
    paths: tuple[str, ...] = ("",)
    program: Program | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents: the identity of the code."""
        total = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()

    def archive(self) -> bytes:
        """The files as tar.gz; equal files give equal bytes."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(entry, io.BytesIO(content))
        return gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)

    def guess(self) -> int:
        """How many bytes :meth:`archive` has at most, or at a guess from samples where packing would take long."""
        total = sum(map(len, self.files.values()))
        if total <= _QUICK:
            return total
        content = max(self.files.values(), key=len, default=b"")
        step = max(1, len(content) // _SAMPLES)
        sample = b"".join(content[at : at + _SAMPLE] for at in range(0, len(content), step))
        return total if not sample else total * len(zlib.compress(sample, 1)) // len(sample)

    def largest(self) -> str:
        """The three largest files with their sizes, for who has to leave some out."""
        found = sorted(self.files.items(), key=lambda item: -len(item[1]))[:3]
        return ", ".join(f"{name} ({size(len(content))})" for name, content in found)


def collect(
    code: str | Path | Callable[..., object],
    *,
    files: Sequence[str | Path] = (),
    params: Mapping[str, object] | None = None,
    filename: str = "cell.py",
    first_line: int = 1,
    root: Path | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Bundle:
    """The bundle for a cell's text, a script's path or a function, with its local modules and the files asked for.

    ``beside`` are further files by their path, made on the spot; Python among them brings its local modules, too.

    Raises:
        BundleError: something cannot be shipped; nothing was created.
    """
    here = (root or Path.cwd()).resolve()
    main = _main(code, params or {}, filename, first_line, here)
    name = main.name
    found: dict[str, bytes] = {name: main.source, **(beside or {})}
    made = {where: parse(text, where) for where, text in (beside or {}).items() if where.endswith(".py")}
    every = _closure(main.trees | made, here, [here / folder for folder in main.paths], found)
    for wanted in files:
        found.update(_wanted(Path(wanted), here))
    every |= _shipped(found, {one.file for one in every} | {name, *(beside or {})})
    own = _own(found, main.paths)
    _refuse_hiding(every, own, name, main.filename)
    for where, content in main.sources.items():
        _refuse_secrets(where, content, main.first_line)
    for where in found.keys() - {name}:
        _refuse_secrets(where, found[where], 1)
    return Bundle(
        main=name,
        filename=main.filename,
        first_line=main.first_line,
        call=main.call,
        files=found,
        imports=tuple(sorted(one for one in every if one.top not in own)),
        paths=tuple(main.paths),
        program=main.program,
    )


@dataclass(frozen=True, slots=True)
class _Main:
    """What is run: one file, and the texts that it is made of by the names under which they are shown."""

    name: str
    source: bytes
    filename: str
    first_line: int
    paths: list[str]
    sources: dict[str, bytes]
    trees: dict[str, ast.Module]
    call: str = ""
    program: notebooks.Program | None = None


def _main(
    code: str | Path | Callable[..., object], params: Mapping[str, object], filename: str, first_line: int, here: Path
) -> _Main:
    if not isinstance(code, (str, Path)):
        function = functions.extract(code, params)
        # A file of that name would hide the package from whatever imports it.
        stem = f"{function.name}_" if packages.is_package(function.name) else function.name
        source, name = function.source.encode(), f"{stem}.py"
        _refuse_nothing(source, name)
        return _Main(name, source, name, 1, [""], {name: source}, {name: parse(source, name)}, call=function.name)
    path, program = script_path(code), None
    if path is not None:
        name, source = _script(path, here)
        filename, first_line = name, 1
        program = notebooks.read(source, name) if path.suffix == notebooks.SUFFIX else None
    else:
        filename = _within(filename)
        name, source = filename if filename.endswith(".py") else f"{filename}.py", str(code).encode()
        program = notebooks.from_text(str(code), filename)
    folder = str(PurePosixPath(name).parent)
    paths = [folder, ""] if folder != "." else [""]
    _refuse_nothing(source, filename)
    if program is None:
        trees = {name: parse(source, filename, first_line)}
        return _Main(name, source, filename, first_line, paths, {name: source}, trees)
    program = program.given(params)
    sources = {program.shown(cell): cell.text.encode() for cell in program.cells}
    trees = {where: parse(text, where) for where, text in sources.items()}
    # With both endings: the notebook may import a module of its own name.
    return _Main(f"{program.name}.py", program.text.encode(), program.name, 1, paths, sources, trees, program=program)


def _refuse_nothing(source: bytes, filename: str) -> None:
    if not source.strip():
        raise BundleError(f"{filename} is empty: there is nothing to run")


def script_path(code: str | Path) -> Path | None:
    """The path, when the argument names a script rather than being source text."""
    if isinstance(code, Path):
        return code
    if "\n" in code or not code.strip().endswith((".py", ".ipynb")) or any(c in code for c in "()=#"):
        return None
    return Path(code.strip())


def parse(source: bytes, filename: str, first_line: int = 1) -> ast.Module:
    """The syntax tree, its lines counted from ``first_line``.

    Raises:
        BundleError: it is not Python; says so plainly for lines that only a notebook understands.
    """
    try:
        text = source.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{filename} is not UTF-8 text: {error}") from error
    try:
        return ast.parse("\n" * (first_line - 1) + text, filename)
    except SyntaxError as error:
        raise _syntax(text, filename, first_line, error) from error
    except ValueError as error:  # a NUL character
        raise BundleError(f"{filename} cannot be Python: {error}") from error


def plain(params: Mapping[str, object]) -> dict[str, Any]:
    """Parameters as JSON values; numbers of NumPy become Python's.

    Raises:
        UsageError: a value is not plain data, or a name cannot be a variable.
    """
    done: dict[str, Any] = {}
    for name, value in params.items():
        if not name.isidentifier():
            raise UsageError(f"parameter {name!r} cannot be a variable's name")
        done[name] = _plain(value, name)
    return done


def instructions(bundle: Bundle, **more: object) -> str:
    """The JSON that tells the launcher in the pod what to do."""
    document = {
        "main": bundle.main,
        "filename": bundle.filename,
        "firstLine": bundle.first_line,
        "call": bundle.call,
        "paths": list(bundle.paths),
        **more,
    }
    if bundle.program is not None:
        document["cells"] = bundle.program.spans
        document["folder"] = str(PurePosixPath(bundle.main).parent)
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)


def _plain(value: object, where: str) -> object:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(
                f"parameter {where} is {value}, which JSON cannot carry", hint="use None or a large number"
            )
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        bad = next((key for key in value if not isinstance(key, str)), None)
        if bad is not None:
            raise UsageError(f"parameter {where} has the key {bad!r}; keys must be text")
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    scalar = getattr(value, "item", None)
    if callable(scalar) and getattr(value, "shape", None) == ():
        return _plain(scalar(), where)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise UsageError(
        f"parameter {where} is a {kind}, which is not plain data",
        hint="pass numbers, text, lists and dictionaries; load or make everything else inside the job",
    )


def _script(path: Path, root: Path) -> tuple[str, bytes]:
    full = (path if path.is_absolute() else root / path).resolve()
    if not full.is_file():
        what = "notebook" if full.suffix == notebooks.SUFFIX else "script"
        raise BundleError(f"there is no {what} {path}", hint=f"paths are looked up in {root}")
    return _inside(full, root), full.read_bytes()


def _within(filename: str) -> str:
    """The name of source text, in the folder that it says, if that is one of the bundle's."""
    path = PurePosixPath(filename)
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def _inside(full: Path, root: Path) -> str:
    return full.relative_to(root).as_posix() if full.is_relative_to(root) else full.name


def _wanted(path: Path, root: Path) -> dict[str, bytes]:
    full = (path if path.is_absolute() else root / path).resolve()
    if full.is_file():
        return {_inside(full, root): _read(full)}
    if not full.is_dir():
        raise BundleError(f"there is no file or folder {path} to ship", hint=f"paths are looked up in {root}")
    found = {}
    for entry in sorted(full.rglob("*")):
        below = entry.relative_to(full)
        if _SKIPPED_FOLDERS & set(below.parts) or entry.suffix == ".pyc" or not entry.is_file():
            continue
        name = (
            PurePosixPath(_inside(full, root)) / below.as_posix() if full != root else PurePosixPath(below.as_posix())
        )
        found[str(name)] = _read(entry)
    return found


def _read(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_FILE:
        raise BundleError(
            f"{path.name} has {size(path.stat().st_size)}; that is data, not code",
            hint="read it from where it is, or put it on a volume",
        )
    return path.read_bytes()


def _closure(trees: dict[str, ast.Module], root: Path, search: Sequence[Path], found: dict[str, bytes]) -> set[Import]:
    """Add every module under the root that the code imports, however deep; answer all imports."""
    every: set[Import] = set()
    queue = list(trees.items())
    while queue:
        name, tree = queue.pop()
        for one in imports_of(tree, name):
            every.add(one)
            for path in _resolve(one.module, search, root):
                where = _inside(path, root)
                if where not in found:
                    found[where] = path.read_bytes()
                    queue.append((where, parse(found[where], where)))
    return every


def _shipped(found: Mapping[str, bytes], read: set[str]) -> set[Import]:
    """The imports of what ``files`` brought. Whether that is Python of this version is not our business."""
    every: set[Import] = set()
    for name, content in found.items():
        if name.endswith(".py") and name not in read:
            try:
                every |= set(imports_of(parse(content, name), name))
            except BundleError:
                continue
    return every


def _own(found: Mapping[str, bytes], paths: Sequence[str]) -> dict[str, str]:
    """What can be imported from the bundle: top-level name to the file or folder that has it."""
    own: dict[str, str] = {}
    for folder in paths:
        for name in sorted(found):
            path = PurePosixPath(name)
            if path.suffix == ".py" and path.is_relative_to(folder):
                first = path.relative_to(folder).parts[0]
                own.setdefault(first.removesuffix(".py"), str(PurePosixPath(folder, first)))
    return own


def _refuse_hiding(every: set[Import], own: Mapping[str, str], main: str, shown: str) -> None:
    """Refuse a file that has the name of a package which it, or what it is shipped with, wants to import."""
    for one in sorted(every, key=lambda one: (one.file, one.line)):
        hiding = own.get(one.top, "")
        if not hiding.endswith(".py") or one.relative or hiding not in (one.file, main):
            continue
        if packages.is_package(one.top):
            file, hidden = (shown if path == main else path for path in (one.file, hiding))
            raise BundleError(
                f"{file}, line {one.line}: 'import {one.top}' would find {hidden}, which hides the package {one.top!r}",
                hint=f"rename {hidden}",
            )


def _resolve(module: str, search: Sequence[Path], root: Path) -> list[Path]:
    """The files that importing a dotted name would read from the root: packages' ``__init__`` and the module."""
    for base in search:
        files: list[Path] = []
        place = base
        for part in module.split("."):
            if (place / part / "__init__.py").is_file():
                files.append(place / part / "__init__.py")
            elif (place / f"{part}.py").is_file():
                files.append(place / f"{part}.py")
                break
            elif not (place / part).is_dir():
                break
            place = place / part
        inside = [path.resolve() for path in files if path.resolve().is_relative_to(root)]
        if inside:
            return inside
    return []


def _syntax(text: str, filename: str, first_line: int, error: SyntaxError) -> BundleError:
    number = error.lineno or first_line
    lines = text.splitlines()
    line = lines[number - first_line] if 0 <= number - first_line < len(lines) else (error.text or "")
    bare = line.strip()
    where = f"{filename}, line {number}"
    if bare.startswith("%%"):
        return BundleError(
            f"{where}: {bare!r} is a cell magic, which only a notebook understands",
            hint="%%kf_train must be the first line of the cell, and the only magic in it",
        )
    if bare.startswith("!") or re.match(r"[\w, ]+=\s*!", bare):
        return BundleError(
            f"{where}: {bare!r} is a shell line, which only a notebook understands",
            hint="use subprocess.run([...]) in the code, or run the line in a cell of its own",
        )
    if bare.startswith("%") or re.match(r"[\w, ]+=\s*%", bare):
        return BundleError(
            f"{where}: {bare!r} is a magic, which only a notebook understands", hint="move it to a cell of its own"
        )
    if bare.startswith("?") or bare.endswith("?"):
        return BundleError(f"{where}: {bare!r} asks for help, which only a notebook understands", hint="remove it")
    column = " " * max((error.offset or 1) - 1, 0) + "^"
    return BundleError(f"{where}: {error.msg}\n    {line}\n    {column}", hint="nothing was created")


def _refuse_secrets(where: str, content: bytes, first_line: int) -> None:
    name = PurePosixPath(where).name
    for pattern, why in _SECRET_NAMES:
        if fnmatch.fnmatch(name, pattern):
            raise BundleError(f"{where} is not shipped: {why}", hint=_secret_hint())
    for pattern_, why in _SECRET_LINES:
        if match := pattern_.search(content):
            line = content.count(b"\n", 0, match.start()) + first_line
            raise BundleError(f"{where}, line {line}, is not shipped: {why}", hint=_secret_hint())
    if where.endswith((".yaml", ".yml")) and re.search(rb"(?m)^kind:\s*Config\s*$", content):
        raise BundleError(f"{where} is not shipped: it is a kubeconfig", hint=_secret_hint())


def _secret_hint() -> str:
    return "what a job is made of can be read by everyone in the namespace; keep secrets in a Kubernetes Secret"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1024:.0f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MiB"
