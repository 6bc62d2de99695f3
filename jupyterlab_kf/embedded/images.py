"""What an image name stands for on this machine: a Python environment, found or made once.

A pod's image is a name only. The user's table is asked first, then the one that ships (`images.yaml`), and what neither
names stands for the environment that the node itself runs in. A recipe's environment is made from a hash-locked
requirements file under a name that hashes the recipe, behind a lock that the installer inherits, so it is made once
for all processes that share the cache, and a killed maker never leaves a half-made one in use. It starts no process
itself: the node hands in how.
"""

from __future__ import annotations

import fcntl
import fnmatch
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.settings import Settings

SHIPPED: Final = Path(__file__).with_name("images.yaml")
READY: Final = ".jupyterlab-kf-ready"
OWN: Final = "the node's own environment"

ENDED: Final = (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT, -signal.SIGHUP, 128 + signal.SIGTERM)
"""How an installer ends that somebody ended."""
CHECK: Final = """
import importlib.util, sys
missing = []
for name in sys.argv[1:]:
    try:
        if importlib.util.find_spec(name) is None:
            missing.append(name)
    except Exception as error:
        missing.append(f"{name} ({type(error).__name__}: {error})")
if missing:
    print("missing modules:", ", ".join(missing), "of", sys.prefix, file=sys.stderr)
    sys.exit(1)
"""

Runner: TypeAlias = Callable[[Sequence[str], Mapping[str, str], int], tuple[int, str]]
"""Runs a command with an environment and an inherited file descriptor; answers exit status and output."""


class ImageError(KubeflowError):
    """An image's environment cannot be had; the message is what the pod's Event says."""


class InterruptedMakingError(ImageError):
    """The maker was ended from outside: nothing is wrong with the recipe."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What an image brings to run.

    Attributes:
        entrypoint: what runs when a container has no command; its arguments follow.
        named: programs of the image that this machine does not have, and what runs instead of each.
    """

    entrypoint: tuple[str, ...] = ()
    named: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def words(self, command: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """What a container runs; empty when it says nothing to run and the image has no entrypoint."""
        before = [] if command else list(self.entrypoint)
        given = [*command, *arguments]
        program = given[0].rpartition("/")[2] if given else ""
        instead = dict(self.named).get(program)
        if instead is None:
            return [*before, *given]
        # An entrypoint that only runs its arguments, as many have: the program is what counts.
        return [*instead, *given[1:]]


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment that is there, and the image's programs.

    ``nothing`` is set when the image's containers have nothing to do on one machine, and says why.
    """

    image: str
    prefix: Path
    name: str
    nothing: str = ""
    programs: Programs = Programs()

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.prefix / "bin"


@dataclass(frozen=True, slots=True)
class Recipe:
    """An environment that has to be made first."""

    image: str
    name: str
    lock: Path | None = None
    requirements: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    python: str = ""
    build_constraints: tuple[str, ...] = field(default=())
    brings: Programs = Programs()

    def digest(self, version: str) -> str:
        """Changes whenever the environment that this makes would."""
        content = self.lock.read_bytes() if self.lock else b""
        text = json.dumps([self.name, self.requirements, self.build_constraints, version])
        return hashlib.sha256(text.encode() + content).hexdigest()[:12]


class Images:
    """The table, and the environments made from it.

    Args:
        settings: where the user's table and the environments are.
        prefix: the default environment; that of this process when not given.
    """

    def __init__(self, settings: Settings, *, prefix: Path | None = None) -> None:
        self._user_file = settings.images_file
        self._made = settings.environments_dir
        self._default = prefix or Path(sys.prefix)

    @property
    def default(self) -> Path:
        """The prefix of the environment that unnamed images stand for."""
        return self._default

    def resolve(self, image: str) -> Environment | Recipe:
        """What the image stands for, without making anything.

        Raises:
            ImageError: the user's table is broken, or names an environment that does not exist.
        """
        recipes: dict[str, Any] = {}
        tables = [(path, _table(path)) for path in (self._user_file, SHIPPED)]
        for path, table in reversed(tables):
            recipes |= {name: (path, recipe) for name, recipe in (table.get("recipes") or {}).items()}
        for path, table in tables:
            for entry in table.get("images") or ():
                if _fits(image, entry.get("match") or ()):
                    return self._entry(image, path, entry, recipes)
        return Environment(image, self._default, OWN)

    def _entry(
        self, image: str, path: Path, entry: Mapping[str, Any], recipes: Mapping[str, Any]
    ) -> Environment | Recipe:
        brings = _brings(path, entry)
        if "none" in entry:
            return Environment(image, self._default, "nothing", nothing=str(entry["none"]))
        if "recipe" not in entry and "python" not in entry and brings != Programs():
            return Environment(image, self._default, OWN, programs=brings)
        if "python" in entry:
            prefix = Path(str(entry["python"])).expanduser()
            if prefix.name.startswith("python") and prefix.parent.name == "bin":
                prefix = prefix.parent.parent
            if not (prefix / "bin" / "python").exists():
                raise ImageError(f"the table of images {path} says that {image!r} is {prefix}, which has no bin/python")
            return Environment(image, prefix, str(prefix), programs=brings)
        name = str(entry.get("recipe", ""))
        if name not in recipes:
            raise ImageError(f"the table of images {path} names the recipe {name!r} for {image!r}, which is not in it")
        recipe = replace(_recipe(image, name, *recipes[name]), brings=brings)
        if self._suffices(recipe):
            return Environment(image, self._default, OWN, programs=brings)
        for version in _versions(recipe):
            prefix = self._made / f"{name}-{recipe.digest(version)}"
            if (prefix / READY).exists():
                return Environment(image, prefix, prefix.name, programs=brings)
        return recipe

    def _suffices(self, recipe: Recipe) -> bool:
        """Whether the default environment has all that the recipe would bring."""
        if not recipe.modules:
            return False
        importlib.invalidate_caches()
        here = self._default == Path(sys.prefix)
        found = all(importlib.util.find_spec(name) for name in recipe.modules) if here else False
        return found and all((self._default / "bin" / name).exists() for name in recipe.programs)

    def make(self, recipe: Recipe, run: Runner, *, waiting: Callable[[], None] = lambda: None) -> Environment:
        """The recipe's environment, made now if it is not there. Blocks; safe against other makers and kills.

        Args:
            recipe: what to make.
            run: how to run an installer.
            waiting: called once if another process makes it, before its end is waited for.

        Raises:
            InterruptedMakingError: an installer was ended by a signal; the next try begins anew.
            ImageError: it cannot be made; the last lines of the installer are in the message.
        """
        python, version = _interpreter(recipe)
        prefix = self._made / f"{recipe.name}-{recipe.digest(version)}"
        self._made.mkdir(parents=True, exist_ok=True)
        lock = _lock(Path(f"{prefix}.lock"), waiting)
        try:
            if not (prefix / READY).exists():
                shutil.rmtree(prefix, ignore_errors=True)
                started = time.monotonic()
                for command in self._commands(recipe, prefix, python):
                    self._run(command, run, lock)
                record = {"recipe": recipe.name, "python": version, "seconds": round(time.monotonic() - started, 1)}
                _write_synced(prefix / READY, json.dumps(record))
        finally:
            os.close(lock)
        return Environment(recipe.image, prefix, prefix.name, programs=recipe.brings)

    def _run(self, command: Sequence[str], run: Runner, lock: int) -> None:
        status, output = run(command, clean_environment(os.environ, [self._default / "bin"]), lock)
        if status in ENDED:
            raise InterruptedMakingError(f"{_words(command)} was ended by signal {abs(status) & 0x7F}")
        if status:
            raise ImageError(_last_lines(command, status, output))

    def _commands(self, recipe: Recipe, prefix: Path, python: str) -> list[list[str]]:
        """The commands that make the environment: uv's where there is uv, else venv and pip."""
        lines = self._made / f"{prefix.name}.in"
        lines.write_text("\n".join(recipe.requirements) + "\n")
        source = ["-r", str(recipe.lock), "--require-hashes", "--no-deps"] if recipe.lock else ["-r", str(lines)]
        target = str(prefix / "bin" / "python")
        verify = [[target, "-c", CHECK, *recipe.modules]] if recipe.modules else []
        uv = shutil.which("uv", path=f"{self._default / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
        if uv:
            constraints = self._made / f"{prefix.name}.build"
            constraints.write_text("\n".join(recipe.build_constraints) + "\n")
            build = ["--build-constraints", str(constraints)] if recipe.build_constraints else []
            return [
                [uv, "venv", "--quiet", "--python", python, str(prefix)],
                [uv, "pip", "install", "--quiet", "--python", target, *source, *build],
                *verify,
            ]
        pip = [target, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        first = [[*pip, *recipe.build_constraints, "wheel"]] if recipe.build_constraints else []
        isolation = ["--no-build-isolation"] if recipe.build_constraints else []
        return [[python, "-m", "venv", str(prefix)], *first, [*pip, *source, *isolation], *verify]


def _lock(path: Path, waiting: Callable[[], None]) -> int:
    """A descriptor that holds the lock on the file of that name, even if the cache is cleaned meanwhile."""
    told = False
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _table(path: Path) -> dict[str, Any]:
    """What a table of images says now; nothing where there is no such file."""
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _read(path, stamp)


@functools.lru_cache(maxsize=8)
def _read(path: Path, _stamp: int) -> dict[str, Any]:
    try:
        table = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ImageError(f"the table of images {path} cannot be read: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(e, dict) for e in table.get("images") or ()):
        raise ImageError(f"the table of images {path} must hold a mapping with a list 'images'")
    return table


def _fits(image: str, patterns: Any) -> bool:
    bare = re.sub(r"^(docker\.io/(library/)?)", "", image.partition("@")[0])
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(bare, str(p)) or fnmatch.fnmatchcase(image, str(p)) for p in listed)


def _brings(path: Path, entry: Mapping[str, Any]) -> Programs:
    """The programs of an entry of the table."""
    named = entry.get("programs") or {}
    if not isinstance(named, dict) or not all(map(_are_words, [*named.values(), entry.get("entrypoint") or []])):
        raise ImageError(
            f"the table of images {path}: 'entrypoint' must be a list of words, and 'programs' name such lists"
        )
    pairs = ((str(name), tuple(words)) for name, words in named.items())
    return Programs(tuple(entry.get("entrypoint") or ()), tuple(pairs))


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _recipe(image: str, name: str, path: Path, raw: Mapping[str, Any]) -> Recipe:
    unknown = set(raw) - {"lock", "requirements", "modules", "programs", "python", "build-constraints"}
    if unknown or not (raw.get("lock") or raw.get("requirements")):
        what = f"has the unknown key {min(unknown)!r}" if unknown else "has neither 'lock' nor 'requirements'"
        raise ImageError(f"the recipe {name!r} in {path} {what}")
    lock = path.parent / raw["lock"] if raw.get("lock") else None
    if lock and not lock.exists():
        raise ImageError(f"the recipe {name!r} in {path} names the lock file {lock}, which does not exist")
    return Recipe(
        image,
        name,
        lock,
        tuple(raw.get("requirements") or ()),
        tuple(raw.get("modules") or ()),
        tuple(raw.get("programs") or ()),
        str(raw.get("python") or ""),
        tuple(raw.get("build-constraints") or ()),
    )


def _in_range(version: tuple[int, int], wanted: str) -> bool:
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        match = re.fullmatch(r"(>=|<)\s*(\d+)\.(\d+)", part)
        if not match:
            raise ImageError(f"a recipe's python {wanted!r} must be written like '>=3.11,<3.13'")
        bound = (int(match[2]), int(match[3]))
        if (version < bound) if match[1] == ">=" else (version >= bound):
            return False
    return True


def _versions(recipe: Recipe) -> list[str]:
    """The interpreter versions that could serve, that of this process first."""
    own = sys.version_info[:2]
    others = [(3, minor) for minor in range(14, 8, -1) if (3, minor) != own]
    return [f"{major}.{minor}" for major, minor in [own, *others] if _in_range((major, minor), recipe.python)]


def _interpreter(recipe: Recipe) -> tuple[str, str]:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in _versions(recipe):
        if version == own:
            return sys.executable, version
        found = shutil.which(f"python{version}")
        if found:
            return found, version
    raise ImageError(f"the recipe {recipe.name!r} needs Python {recipe.python}, and none is on the PATH (own: {own})")


def _words(command: Sequence[str]) -> str:
    """What a command is called in a message."""
    if CHECK in command:
        return f"the check of the modules {', '.join(command[3:])} by {command[0]}"
    return " ".join([Path(command[0]).name, *command[1:4]])


def _last_lines(command: Sequence[str], status: int, output: str) -> str:
    said = [line for line in output.strip().splitlines() if line.strip()][-6:]
    return f"{_words(command)} ended with status {status}: " + ("\n".join(said) or "it said nothing")


def _write_synced(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


PASSED_ON: Final = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
PASSED_PREFIXES: Final = ("PIP_", "UV_")


def clean_environment(environ: Mapping[str, str], bins: Sequence[Path]) -> dict[str, str]:
    """A process' base environment: what programs need to work here, and none of the node's secrets."""
    env = {k: v for k, v in environ.items() if k in PASSED_ON or k.startswith(PASSED_PREFIXES)}
    env.setdefault("HOME", str(Path("~").expanduser()))
    env.setdefault("LANG", "C.UTF-8")
    rest = environ.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["PATH"] = os.pathsep.join(dict.fromkeys([*map(str, bins), *rest.split(os.pathsep)]))
    return env
