"""Envoy's configuration as files: written aside and renamed into place, only where something changed.

Envoy watches the folders, so a rename is the whole control plane. What cannot be written leaves the old file as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

TYPES: Final = {
    "lds": "listener.v3.Listener",
    "cds": "cluster.v3.Cluster",
    "rds": "route.v3.RouteConfiguration",
    "eds": "endpoint.v3.ClusterLoadAssignment",
    "sds": "extensions.transport_sockets.tls.v3.Secret",
}


class Files:
    """The folder that Envoy reads.

    Args:
        folder: made when first written to, for the user alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[Path, str] = {}

    def put(self, path: str | Path, resources: Iterable[Mapping[str, Any]], kind: str) -> bool:
        """Resources of a kind (``lds``, ...) into a file; whether it changed.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        type_ = TYPES[kind]
        prefix = "type.googleapis.com/envoy." + ("" if type_.startswith("extensions.") else "config.")
        listed = [{"@type": prefix + type_, **resource} for resource in resources]
        return self.put_value(path, {"resources": listed})

    def put_value(self, path: str | Path, value: Any) -> bool:
        """A JSON value into a file; whether it changed.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        target = self.folder / path
        text = json.dumps(value, separators=(",", ":"))
        if self._text(target) == text:
            return False
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = target.with_name(f".{target.name}.new")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            aside.rename(target)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        self._written[target] = text
        return True

    def resources(self, path: str | Path) -> list[dict[str, Any]]:
        """What a file holds; nothing when there is none that can be read."""
        try:
            return list(json.loads(self._text(self.folder / path) or "{}").get("resources") or ())
        except (ValueError, AttributeError):
            return []

    def value(self, path: str | Path) -> Any:
        """A file's JSON value; None when there is none that can be read."""
        try:
            return json.loads(self._text(self.folder / path) or "null")
        except ValueError:
            return None

    def keep_only(self, kind: str, paths: Iterable[str | Path]) -> None:
        """Remove the files of a kind that nothing names any more."""
        kept = {self.folder / path for path in paths}
        folder = self.folder / kind
        for path in folder.glob("*.json") if folder.is_dir() else ():
            if path not in kept:
                self._written.pop(path, None)
                path.unlink(missing_ok=True)

    def keep_folders(self, names: Collection[str]) -> None:
        """Remove every folder but these: an earlier daemon may not have seen a gateway pod go."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and path.name not in names:
                self.forget(path.name)

    def forget(self, name: str) -> None:
        """Remove a gateway pod's own folder."""
        folder = self.folder / name
        for path in [path for path in self._written if path.is_relative_to(folder)]:
            del self._written[path]
        shutil.rmtree(folder, ignore_errors=True)

    def _text(self, target: Path) -> str | None:
        if target not in self._written:
            try:
                self._written[target] = target.read_text()
            except (OSError, UnicodeDecodeError):
                return None
        return self._written[target]
