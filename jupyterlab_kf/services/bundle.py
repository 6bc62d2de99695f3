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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.services import functions

LIMIT: Final = 900 * 1024
"""Bytes that a ConfigMap can carry with room for its metadata; etcd refuses more than 1 MiB."""

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
    (re.compile(rb"\bclient-key-data\s*:\s*\S"), "it looks like a kubeconfig's key"),
    (re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "an AWS access key stands there"),
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
        imports: top-level modules that the code imports and that are not in the bundle.
        paths: folders of the bundle that come first on ``sys.path``.
    """

    main: str
    filename: str
    first_line: int = 1
    call: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("",)

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents: the identity of the code."""
        total = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()

    def archive(self) -> bytes:
        """The files as tar.gz; equal files give equal bytes.

        Raises:
            BundleError: it is more than a ConfigMap can carry.
        """
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(entry, io.BytesIO(content))
        packed = gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)
        if len(packed) > LIMIT:
            largest = sorted(self.files.items(), key=lambda item: -len(item[1]))[:3]
            listed = ", ".join(f"{name} ({_size(len(content))})" for name, content in largest)
            raise BundleError(
                f"the code is {_size(len(packed))} when packed; {_size(LIMIT)} fit. Largest: {listed}",
                hint="leave data out of --files: read it from where it is, or put it on a volume",
            )
        return packed


def collect(
    code: str | Path | Callable[..., object],
    *,
    files: Sequence[str | Path] = (),
    params: Mapping[str, object] | None = None,
    filename: str = "cell.py",
    first_line: int = 1,
    root: Path | None = None,
) -> Bundle:
    """The bundle for a cell's text, a script's path or a function, with its local modules and the files asked for.

    Raises:
        BundleError: something cannot be shipped; nothing was created.
    """
    here = (root or Path.cwd()).resolve()
    call = ""
    paths = [""]
    if isinstance(code, (str, Path)):
        path = script_path(code)
        if path is not None:
            name, source = _script(path, here)
            filename, first_line = name, 1
            if (folder := str(PurePosixPath(name).parent)) != ".":
                paths.insert(0, folder)
        else:
            name, source = _file_name(filename), str(code).encode()
    else:
        function = functions.extract(code, params or {})
        name, source, call = f"{function.name}.py", function.source.encode(), function.name
        filename, first_line = name, 1
    if not source.strip():
        raise BundleError(f"{filename} is empty: there is nothing to run")
    tree = parse(source, filename, first_line)
    found: dict[str, bytes] = {name: source}
    outside = _closure({name: tree}, here, [here / folder for folder in paths], found)
    for wanted in files:
        found.update(_wanted(Path(wanted), here))
    for where, content in found.items():
        _refuse_secrets(where, content, first_line if where == name else 1)
    return Bundle(
        main=name,
        filename=filename,
        first_line=first_line,
        call=call,
        files=found,
        imports=tuple(sorted(outside)),
        paths=tuple(paths),
    )


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
    if full.suffix == ".ipynb":
        raise BundleError(
            f"{path} is a notebook", hint="put %%kf_train above the cell to run, or save it as a .py file"
        )
    if not full.is_file():
        raise BundleError(f"there is no script {path}", hint=f"paths are looked up in {root}")
    return _inside(full, root), full.read_bytes()


def _file_name(filename: str) -> str:
    name = Path(filename).name
    return name if name.endswith(".py") else f"{name}.py"


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
    if path.stat().st_size > 64 * LIMIT:
        raise BundleError(
            f"{path.name} has {_size(path.stat().st_size)}; that is data, not code",
            hint="read it from where it is, or put it on a volume",
        )
    return path.read_bytes()


def _closure(trees: dict[str, ast.Module], root: Path, search: Sequence[Path], found: dict[str, bytes]) -> set[str]:
    """Add every module under the root that the code imports, however deep; answer the imports found elsewhere."""
    outside: set[str] = set()
    queue = list(trees.items())
    while queue:
        name, tree = queue.pop()
        for module in _imported(tree, name):
            local = _resolve(module, search, root)
            if not local:
                outside.add(module.split(".")[0])
            for path in local:
                where = _inside(path, root)
                if where not in found:
                    found[where] = path.read_bytes()
                    queue.append((where, parse(found[where], where)))
    return outside


def _imported(tree: ast.Module, name: str) -> Iterator[str]:
    """Dotted names that a module may import; ``from a import b`` may mean the module ``a.b``."""
    package = PurePosixPath(name).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


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


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MiB"


def versions(imports: Iterable[str]) -> dict[str, str]:
    """Versions of imported packages as they are installed here, for the record; unknown ones are left out."""
    from importlib import metadata

    found = {}
    for name in imports:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
