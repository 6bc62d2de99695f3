"""What a browser test knows of the JupyterLab it drives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lab:
    """A running JupyterLab: its address, its token, and the folder it shows."""

    url: str
    token: str
    root: Path
