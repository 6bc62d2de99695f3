"""Where a job's files lie in its pods and on volumes, what they are called, and how much of them travels how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jupyterlab_kf import names
from jupyterlab_kf.model import Obj

CODE_PATH: Final = "/kf/code"
OUTPUT_PATH: Final = "/kf/output"
WORK_PATH: Final = "/kf/work"
CODE_VOLUME: Final = "kf-code"
OUTPUT_VOLUME: Final = "kf-output"
WORK_VOLUME: Final = "kf-work"
LAUNCH: Final = f"{CODE_PATH}/launch.py"
CODE_KEY: Final = "code.tar.gz"
"""The packed code's key in a ConfigMap; of several ConfigMaps each has a piece, under this key and its number."""
SOURCE_KEY: Final = "source"
"""The key of the main file's text, for who looks at a job whose code is on a volume."""
MAP_LIMIT: Final = 900 * 1024
"""Bytes that a ConfigMap carries with room for its metadata; API servers refuse more than 1 MiB."""
MAPS_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of packed code that stay in ConfigMaps with the job; what is larger is put onto a shared volume."""
ARCHIVE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of packed code that are put onto a volume; what is larger is data."""
ARCHIVE_PATH: Final = "/kf/archive"
SHELF: Final = ".jupyterlab-kf/code"
"""The folder of a shared volume that keeps packed code, each archive under its SHA-256."""
VOLUME_PATH: Final = "/kf/volume"
RESULTS: Final = ".jupyterlab-kf/results"
"""The folder of a shared volume that keeps results, those of each job in a folder of its own."""
LOG_LIMIT: Final = 4 * 1024 * 1024
"""Packed bytes of results that a replica prints: as base64, beside its own lines, below the 10 MiB of a node's log."""
RUN: Final = ("python3", LAUNCH, "run")
MPIRUN: Final = ("python3", LAUNCH, "mpirun")


def code_name(job: str, submission: str, number: int = 0) -> str:
    """The name of a job's ConfigMap of that number, counted from 0."""
    return _numbered(job, f"code-{submission[:6]}", number)


def output_name(job: str, submission: str, number: int = 0) -> str:
    """The name of a job's own claim of that number, counted from 0."""
    return _numbered(job, f"output-{submission[:6]}", number)


def results_folder(job: str, submission: str) -> str:
    """The folder of a job's results on a shared volume."""
    return f"{RESULTS}/{names.with_suffix(job, submission[:6])}"


def _numbered(job: str, suffix: str, number: int) -> str:
    return names.with_suffix(job, f"{suffix}-{number}" if number else suffix)


def pieces(texts: Mapping[str, str], archive: bytes) -> list[bytes]:
    """The packed code in as many pieces as it needs ConfigMaps; the first one shares its ConfigMap with the texts."""
    first = MAP_LIMIT - sum(len(text.encode()) for text in texts.values())
    return [archive[:first], *(archive[at : at + MAP_LIMIT] for at in range(first, len(archive), MAP_LIMIT))]


def code_volume(config_maps: Sequence[str]) -> Obj:
    """The volume of a job's code: one ConfigMap, or several as one folder."""
    if len(config_maps) == 1:
        return {"name": CODE_VOLUME, "configMap": {"name": config_maps[0]}}
    return {"name": CODE_VOLUME, "projected": {"sources": [{"configMap": {"name": name}} for name in config_maps]}}
