"""Jobs as pods start them: what travels, in a folder, and the launcher as a process of its own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jupyterlab_kf.services import plans


def place(folder: Path, code: str, framework: str = "pytorch", **request: Any) -> Path:
    """What the pod of a job would find under /kf/code."""
    made = plans.make(
        plans.Request(code=code, framework=framework, root=folder, **request), namespace="n", submission="0" * 12
    )
    home = folder / "kf"
    home.mkdir()
    for one in made.manifests:
        for name, text in one.get("data", {}).items():
            (home / name).write_text(text)
        for name, text in one.get("binaryData", {}).items():
            (home / name).write_bytes(base64.b64decode(text))
    return home


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "KF_WORK": str(home / "work"), "PYTHONUNBUFFERED": "1", **more}


def start(home: Path, verb: str = "run", *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(home / "launch.py"), verb, *more],
        env=environment(home, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
