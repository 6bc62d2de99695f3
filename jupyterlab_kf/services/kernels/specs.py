"""Kernel specs from the file of hardware profiles: one for each profile that kernels may use, kept in step with it.

Owns the folders named ``kf-SLUG`` whose spec names our provisioner, and touches no other.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Profile, Use, kernel_spec
from jupyterlab_kf.profiles.applying import PROVISIONER
from jupyterlab_kf.services import hardware

ARGV: Final = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
_PREFIX: Final = "kf-"
_LOGOS: Final = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")


@dataclass(frozen=True, slots=True)
class Offered:
    """A profile for kernels and where its spec is; None where it has none."""

    profile: Profile
    folder: Path | None


def folder(*, user: bool = False, prefix: Path | None = None) -> Path:
    """Where kernel specs are written: this environment's, the user's or another environment's."""
    from jupyter_core.paths import jupyter_data_dir

    return (Path(jupyter_data_dir()) if user else (prefix or Path(sys.prefix)) / "share" / "jupyter") / "kernels"


def offered() -> list[Offered]:
    """The profiles for kernels, with what Jupyter would find of their specs."""
    from jupyter_client.kernelspec import KernelSpecManager

    found = KernelSpecManager().find_kernel_specs()
    return [
        Offered(one, Path(found[name]) if (name := _PREFIX + one.slug) in found else None)
        for one in hardware.catalogue().offered(Use.KERNEL)
    ]


def install(where: Path) -> tuple[list[Path], list[Path]]:
    """Write the specs, and remove those of profiles that are not offered any more.

    Returns:
        what is there now, and what was removed.

    Raises:
        UsageError: no profile is for kernels, or the folder cannot be written.
    """
    profiles = hardware.catalogue().offered(Use.KERNEL)
    if not profiles:
        raise UsageError(
            "no hardware profile is for kernels", hint="jupyter kf profiles says where profiles are read from"
        )
    try:
        written = [_write(where / f"{_PREFIX}{one.slug}", kernel_spec(one, argv=ARGV)) for one in profiles]
        return written, _drop([path for path in _ours(where) if path not in written])
    except OSError as error:
        raise UsageError(
            f"kernel specs cannot be written to {where}: {error}", hint="--user writes them for you alone"
        ) from error


def remove(where: Path) -> list[Path]:
    """Remove all specs of ours in a folder; answers which."""
    return _drop(_ours(where))


def _write(path: Path, spec: Obj) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "kernel.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    package = find_spec("ipykernel")
    logos = Path(package.origin).with_name("resources") if package and package.origin else path
    for name in _LOGOS:
        source = logos / name
        if source.is_file() and logos != path:
            (path / name).write_bytes(source.read_bytes())
    return path


def _ours(where: Path) -> list[Path]:
    return [path.parent for path in sorted(where.glob(f"{_PREFIX}*/kernel.json")) if _is_ours(path)]


def _is_ours(file: Path) -> bool:
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
        return bool(spec["metadata"]["kernel_provisioner"]["provisioner_name"] == PROVISIONER)
    except (ValueError, KeyError, TypeError):  # somebody else's
        return False


def _drop(paths: list[Path]) -> list[Path]:
    for path in paths:
        shutil.rmtree(path)
    return paths
