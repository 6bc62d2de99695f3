"""Stores in which a registry has begun already: the kinds of the operators are written once a process, then copied."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Store


def begun(folder: Path) -> Store:
    """A store in the folder; a registry over it finds all that it would make at first."""
    path = folder / "store.db"
    shutil.copyfile(Path(_template().name) / "store.db", path)
    return Store(path)


@cache
def _template() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    store = Store(Path(folder.name) / "store.db")
    Registry(store)
    store.close()
    return folder
