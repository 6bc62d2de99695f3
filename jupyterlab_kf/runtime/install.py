"""Installs what a job asks for and its image lacks, before the user's code starts. Standard library only.

    install.py FOLDER    the packages that job.json names, with what they need, into a folder of the pod's own

What the image has stays as it is and is not downloaded again: pip first says what is missing, and only that is put into
the folder. The folder appears whole or not at all, so a restarted container and the other processes of a pod find it
ready. Needs no rights beyond the folder beside it; which index to ask is said by pip's own variables (PIP_INDEX_URL,
PIP_FIND_LINKS, ...). A failure ends with a status of its own and one line that names the package and the reason.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

FAILED = 69
"""EX_UNAVAILABLE. Below 128, so that operators take it for permanent."""
OLDEST = (22, 2)
"""The first pip that can say what it would install."""
SHOWN = ("Downloading ", "Building wheel for ")
LAST_LINES = 20


class InstallError(Exception):
    """Something cannot be installed; the message names it and says why."""


def main(argv: list[str]) -> int:
    """Install into the folder that the argument names; answers the exit status."""
    here, folder = Path(__file__).absolute().parent, Path(argv[0])
    # What lies beside this file is no package.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").absolute() != here]
    wanted = json.loads((here / "job.json").read_text(encoding="utf-8"))["install"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not folder.is_dir():
                install(wanted, folder)
        except InstallError as error:
            say(f"launch.py: {error}", sys.stderr)
            return FAILED
    return 0


def install(wanted: list[dict[str, Any]], folder: Path) -> None:
    """Make the folder, with all that is missing in it."""
    started = time.monotonic()
    fresh, cache = Path(f"{folder}.new"), Path(f"{folder}.cache")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    missing = [one["requirement"] for one in wanted if not present(one)]
    if missing:
        say(f"kf: installing {', '.join(missing)}")
        pip, env = find_pip(), environment(cache, folder.parent)
        found = resolve(pip, env, missing, Path(f"{folder}.json"))
        if found:
            said = [one["exact"] for one in found]
            run(pip, env, ["--no-deps", "--target", str(fresh), "--", *said], missing)
        listed = ", ".join(f"{one['name']} {one['version']}" for one in found) or "nothing: the image has it all"
        say(f"kf: installed {listed} in {time.monotonic() - started:.1f} s")
    shutil.rmtree(cache, ignore_errors=True)
    fresh.rename(folder)


def present(one: dict[str, Any]) -> bool:
    """Whether the image has it already, in whatever version; asked only of what was named without one."""
    for name in one.get("unless") or ():
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return True
    module = one.get("module") or ""
    return module.isidentifier() and importlib.util.find_spec(module) is not None


def find_pip() -> list[str]:
    """The command that is pip: the image's own, or the one that comes with Python."""
    own = [sys.executable, "-m", "pip"]
    done = subprocess.run([*own, "--version"], capture_output=True, text=True, check=False)
    versions = [done.stdout.split()[1] if done.returncode == 0 and done.stdout else ""]
    if recent(versions[0]):
        return own
    bundled = importlib.util.find_spec("ensurepip")
    for wheel in Path(bundled.origin).parent.glob("_bundled/pip-*.whl") if bundled and bundled.origin else ():
        versions.append(wheel.name.split("-")[1])
        if recent(versions[-1]):
            return [sys.executable, str(wheel / "pip")]
    has = ", ".join(version for version in versions if version) or "none"
    oldest = ".".join(map(str, OLDEST))
    raise InstallError(f"cannot install anything: the image has no pip of version {oldest} or later (it has: {has})")


def recent(version: str) -> bool:
    """Whether a pip of this version will do."""
    numbers = re.findall(r"\d+", version)[:2]
    return tuple(map(int, numbers)) >= OLDEST


def environment(cache: Path, work: Path) -> dict[str, str]:
    """The environment for pip: everything that it writes goes below the pod's own folder."""
    env = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_QUIET", "PIP_REQUIREMENT", "PIP_UPGRADE"):
        env.pop(name, None)
    env.setdefault("PIP_CACHE_DIR", str(cache))
    env["TMPDIR"] = str(work)
    return env


def resolve(pip: list[str], env: dict[str, str], missing: list[str], report: Path) -> list[dict[str, str]]:
    """What has to be installed for these, given what the image has: name, version, and how to ask for exactly it."""
    run(pip, env, ["--dry-run", "--report", str(report), "--", *missing], missing)
    found = []
    for entry in json.loads(report.read_text(encoding="utf-8"))["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        direct = entry.get("is_direct") and entry["download_info"].get("url")
        commit = (entry["download_info"].get("vcs_info") or {}).get("commit_id")
        kind = (entry["download_info"].get("vcs_info") or {}).get("vcs")
        # By name and not by address otherwise: pip leaves an index's password out of the addresses that it reports.
        exact = f"{name} @ {f'{kind}+{direct}@{commit}' if commit else direct}" if direct else f"{name}=={version}"
        found.append({"name": name, "version": version, "exact": exact})
    report.unlink()
    return sorted(found, key=lambda one: one["name"])


def run(pip: list[str], env: dict[str, str], words: list[str], missing: list[str]) -> None:
    """Run ``pip install``; its progress goes to the log."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-color"]
    command = [*pip, "install", *options, *words]
    lines: list[str] = []
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.strip().startswith(SHOWN) and ".metadata" not in line:
                say(f"kf: {line.strip()}")
    if process.returncode:
        for line in lines[-LAST_LINES:]:
            say(f"kf: {line}")
        raise InstallError(reason(lines, missing))


def say(line: str, stream: TextIO | None = None) -> None:
    """A line of the log, in one write: several processes of a pod may speak."""
    stream = stream or sys.stdout
    stream.write(f"{line}\n")
    stream.flush()


def reason(lines: list[str], missing: list[str]) -> str:
    """Which package could not be installed and why, from what pip said."""
    text = "\n".join(lines)
    away = re.search(r"Retrying \(Retry\(|Could not fetch URL|NewConnectionError|NameResolutionError|timed out", text)
    none = re.search(r"No matching distribution found for (.+?)(?: \(from .*\))?$", text, re.MULTILINE)
    versions = re.search(r"\(from versions: (.+)\)$", text, re.MULTILINE)
    built = re.search(r"Failed (?:to build|building wheel for) '?([\w.-]+)", text)
    errors = [line.partition("ERROR: ")[2].strip() for line in lines if "ERROR: " in line]
    what = none.group(1) if none else built.group(1) if built else ", ".join(missing)
    if away and (none or not errors):
        why = "the package index cannot be reached"
    elif none and versions and versions.group(1) != "none":
        python = ".".join(map(str, sys.version_info[:2]))
        known = versions.group(1).split(", ")[-5:]
        why = f"there is no such version for Python {python} (there are {', '.join(known)})"
    elif none:
        why = "no package of that name was found"
    elif built:
        why = "it has no wheel for this image, and building it failed"
    else:
        why = errors[0] if errors else (lines[-1] if lines else "pip said nothing")
    return f"cannot install {what}: {why}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
