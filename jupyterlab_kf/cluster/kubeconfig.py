"""Kubeconfig files as kubectl reads them: found, merged, looked up. Reads files and decides nothing.

The first file to name a thing wins. Relative paths in a file are relative to that file, so each entry remembers its
folder and its file. Only :func:`store` writes, and only what an identity provider gave in exchange for what was there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.errors import ClusterError, UsageError
from jupyterlab_kf.settings import Settings

Config = Mapping[str, Any]
FILE: Final = "_file"
"""The key under which an entry remembers the file that it came from."""


@dataclass(frozen=True, slots=True)
class Context:
    """A context with the cluster and the user that it names; what is not given is empty."""

    name: str
    namespace: str
    cluster: Config
    user: Config
    user_name: str = ""

    def path(self, entry: Config, key: str) -> Path | None:
        """The file that an entry names under a key."""
        said = str(entry.get(key) or "")
        return Path(str(entry[FILE])).parent / Path(said).expanduser() if said else None


def files(settings: Settings) -> tuple[Path, ...]:
    """The kubeconfig files that exist, as kubectl looks for them."""
    if settings.kubeconfig:
        paths = [Path(part).expanduser() for part in settings.kubeconfig.split(os.pathsep) if part]
    else:
        paths = [Path("~/.kube/config").expanduser()]
    return tuple(path for path in paths if path.is_file())


def merged(paths: tuple[Path, ...]) -> Config:
    """Kubeconfig files as one.

    Raises:
        ClusterError: a file cannot be read or is not a kubeconfig.
    """
    total: dict[str, Any] = {}
    for path in paths:
        for key, value in _load(path).items():
            if isinstance(value, list):
                have = {entry.get("name") for entry in total.setdefault(key, [])}
                total[key] += [{**entry, FILE: str(path)} for entry in value if entry.get("name") not in have]
            elif not total.get(key):
                total[key] = value
    return total


def names(config: Config) -> list[str]:
    """The names of the contexts, as they stand there."""
    return [str(entry.get("name")) for entry in config.get("contexts") or ()]


def context(config: Config, name: str) -> Context | None:
    """A context by its name."""
    found = _named(config, "contexts", "context", name)
    if found is None:
        return None
    user = str(found.get("user") or "")
    return Context(
        name,
        str(found.get("namespace") or ""),
        _named(config, "clusters", "cluster", str(found.get("cluster"))) or {},
        _named(config, "users", "user", user) or {},
        user,
    )


def store(path: Path, user: str, values: Mapping[str, str]) -> None:
    """Put new values into the configuration of a user's auth provider, for kubectl as for us.

    Raises:
        ClusterError: the file cannot be written.
    """
    import yaml

    document = dict(_load(path))
    for entry in document.get("users") or ():
        if entry.get("name") == user:
            entry["user"]["auth-provider"]["config"].update(values)
    try:
        # Beside the file, so that it can be renamed into its place; mkstemp's mode is 0600.
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "w") as out:
            yaml.safe_dump(document, out, sort_keys=False)
        Path(fresh).replace(path.resolve())
    except OSError as error:
        raise ClusterError(f"the kubeconfig {path} cannot be written: {error}") from error


def unknown(name: str, known: list[str]) -> UsageError:
    """The error for a name that no context has, with the one that was probably meant."""
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return UsageError(f"there is no context {name!r}", hint=f"{meant}the contexts are: {', '.join(known)}")


def _load(path: Path) -> Config:
    import yaml

    try:
        loaded = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe loaders
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterError(f"the kubeconfig {path} cannot be read: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ClusterError(f"{path} is not a kubeconfig")
    return loaded


def _named(config: Config, section: str, key: str, name: str) -> dict[str, Any] | None:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return {**(entry.get(key) or {}), FILE: entry.get(FILE, "")}
    return None
