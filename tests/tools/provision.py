"""What the tests need beyond the project's own packages: made once, kept in the cache folder, found again.

Run as a script it gets everything and prints what it does; the tests import it to find what is there. What cannot be
had is named with the reason, and the tests that need it are skipped with that reason (with ``KF_REQUIRE_REAL=1`` a
missing tool is a failure).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from jupyterlab_kf.settings import load

HERE = Path(__file__).parent
KUBECTL_VERSION = "v1.36.3"


class MissingError(Exception):
    """Something the tests need is not there and cannot be made; the message says what and why."""


def kubectl() -> Path:
    """Kubernetes' own kubectl, built from its Go modules; ``KF_KUBECTL`` names another one."""
    if given := os.environ.get("KF_KUBECTL"):
        return Path(given)
    source = HERE / "kubectl"
    return _made("kubectl", [source / "go.mod", source / "go.sum", source / "main.go"], _build_kubectl)


def training_sdk() -> Path:
    """The Python of an environment that holds Kubeflow's own training SDK, which wants an older kubernetes package."""
    lock = HERE.parent / "clients" / "kubeflow-training.lock"
    return _made("kubeflow-training", [lock], lambda target: _make_environment(target, lock)) / "bin" / "python"


def katib_sdk() -> Path:
    """The Python of an environment that holds Katib's own SDK; with kubernetes 37 it cannot create anything."""
    lock = HERE.parent / "clients" / "kubeflow-katib.lock"
    return _made("kubeflow-katib", [lock], lambda target: _make_environment(target, lock)) / "bin" / "python"


def local_backend() -> Path:
    """The Python of an environment that holds Kubeflow's newer SDK, whose local backend is a benchmark's peer."""
    lock = HERE.parent / "clients" / "kubeflow-sdk.lock"
    return _made("kubeflow-sdk", [lock], lambda target: _make_environment(target, lock)) / "bin" / "python"


def chromium() -> Path:
    """The browser; ``KF_CHROMIUM`` names another one."""
    for name in (os.environ.get("KF_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return Path(found)
    raise MissingError("no chromium on the PATH (Debian: apt-get install chromium)")


def _made(name: str, inputs: list[Path], make: Callable[[Path], None]) -> Path:
    """A thing in the cache, keyed by what it is made from; made beside its place and renamed, so never half there."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:12]
    target = load().cache_dir / "tools" / f"{name}-{digest}"
    if target.exists():
        return target
    if os.environ.get("KF_PROVISION") != "1":
        raise MissingError(f"{name} has not been made yet (make provision)")
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.{os.getpid()}")
    print(f"making {name} ...", flush=True)
    try:
        make(half)
        half.rename(target)
    finally:
        if half.is_dir():
            shutil.rmtree(half)
    return target


def _build_kubectl(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise MissingError("no go on the PATH: kubectl is not built, and the tests that drive it are skipped")
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBECTL_VERSION}"
    flags += " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
    _run([go, "build", "-trimpath", "-o", str(target), "-ldflags", flags, "."], cwd=HERE / "kubectl")


def _make_environment(target: Path, lock: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(target)])
    # The environment is renamed into place afterwards; nothing in it is started by an absolute path but its Python.
    python = target / "bin" / "python"
    _run([sys.executable, "-m", "uv", "pip", "install", "-q", "-p", str(python), "--require-hashes", "-r", str(lock)])


def _apt_chromium() -> None:
    """On Debian as root, the browser comes from its package; elsewhere the reason is told."""
    try:
        chromium()
    except MissingError:
        apt = shutil.which("apt-get")
        if apt is None or os.geteuid() != 0:
            raise
        print("apt-get install chromium ...", flush=True)
        _run([apt, "update", "-qq"])
        _run([apt, "install", "-y", "-qq", "chromium"], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, check=False, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise MissingError(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def main() -> int:
    """Get everything; name what cannot be had. The exit status is 1 only where ``KF_REQUIRE_REAL=1`` asks for it."""
    os.environ["KF_PROVISION"] = "1"
    missing = 0
    for get in (_apt_chromium, kubectl, training_sdk, katib_sdk):
        try:
            get()
        except MissingError as error:
            missing += 1
            print(f"missing: {error}", flush=True)
    return int(missing > 0 and os.environ.get("KF_REQUIRE_REAL") == "1")


if __name__ == "__main__":
    sys.exit(main())
