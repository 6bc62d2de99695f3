"""Fetches a model before its server starts, as Seldon's storage initializer does. Standard library; fsspec for S3.

    fetch.py SOURCE FOLDER    what lies at the source, into the folder

The source is a path, ``file://`` and a path, ``s3://bucket/path``, or ``remote:bucket/path`` with a remote of type s3
that ``RCLONE_CONFIG_<REMOTE>_...`` describes. Everything else is refused with what can be had. A folder's content is
copied, a file under its own name; a copy that was begun before is done again from the start.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

USAGE = 64
FAILED = 69
_KEYS = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "SESSION_TOKEN": "token"}


class FetchError(Exception):
    """The model cannot be had; the message says why."""


def main(argv: list[str]) -> int:
    """Fetch; answers the exit status."""
    if len(argv) != 2:  # noqa: PLR2004  from where, and whither
        print("usage: fetch SOURCE FOLDER", file=sys.stderr)
        return USAGE
    try:
        count = fetch(argv[0], Path(argv[1]), os.environ)
    except (FetchError, OSError) as error:
        print(f"fetch: {error}", file=sys.stderr, flush=True)
        return FAILED
    print(f"fetched {count} file{'s' if count != 1 else ''} of {argv[0]}", flush=True)
    return 0


def fetch(source: str, folder: Path, environment: Mapping[str, str]) -> int:
    """Copy what is at the source into the folder; how many files.

    Raises:
        FetchError: there is nothing, or no way to get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scheme, sep, rest = source.partition("://")
    if not sep and not source.startswith(("/", ".")) and ":" in source:
        remote, _, rest = source.partition(":")
        return _from_remote(remote, rest, folder, environment)
    if sep and scheme == "s3":
        return _from_s3(rest, folder, _options("S3", environment))
    if sep and scheme != "file":
        raise FetchError(
            f"models are fetched from paths, pvc:// and s3://, not from {scheme}://: put the model of {source} there"
        )
    return _from_path(Path(rest if sep else source), folder)


def _from_path(place: Path, folder: Path) -> int:
    if place.is_dir():
        shutil.copytree(place, folder, dirs_exist_ok=True)
        return sum(one.is_file() for one in place.rglob("*"))
    if not place.exists():
        raise FetchError(f"there is nothing at {place}")
    shutil.copy2(place, folder / place.name)
    return 1


def _from_remote(remote: str, rest: str, folder: Path, environment: Mapping[str, str]) -> int:
    kind = environment.get(f"RCLONE_CONFIG_{remote.upper()}_TYPE")
    if kind != "s3":
        told = f"is of type {kind}" if kind else f"is not described: RCLONE_CONFIG_{remote.upper()}_TYPE is not set"
        raise FetchError(f"the remote {remote!r} {told}; remotes of type s3 can be had")
    return _from_s3(rest.lstrip("/"), folder, _options(remote.upper(), environment))


def _options(remote: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """How S3 is asked: a remote's own variables, or those that every client of AWS reads."""
    found: dict[str, Any] = {}
    for name, option in _KEYS.items():
        if value := environment.get(f"RCLONE_CONFIG_{remote}_{name}") or environment.get(f"AWS_{name}"):
            found[option] = value
    if url := environment.get(f"RCLONE_CONFIG_{remote}_ENDPOINT") or environment.get("AWS_ENDPOINT_URL"):
        found["client_kwargs"] = {"endpoint_url": url}
    return found


def _from_s3(path: str, folder: Path, options: dict[str, Any]) -> int:
    try:
        files = importlib.import_module("fsspec").filesystem("s3", **options)
    except ImportError as error:
        raise FetchError(
            f"models are fetched from S3 with fsspec and s3fs, which are not installed: {error}"
        ) from error
    try:
        return _download(files, path.rstrip("/"), folder)
    except FetchError:
        raise
    except Exception as error:  # any of a dozen of libraries', of which none can be named here
        raise FetchError(_why(path, options, error)) from error


def _why(path: str, options: Mapping[str, Any], error: Exception) -> str:
    """What is wrong, with the bucket, the key and where credentials come from; never with credentials."""
    bucket, _, key = path.partition("/")
    if isinstance(error, FileNotFoundError):
        return f"there is nothing at s3://{path}: the bucket {bucket} is not there, or has no key {key or '(empty)'}"
    said = str(error) or type(error).__name__
    if "key" in options:
        return f"s3://{path} (bucket {bucket}, key {key}) cannot be fetched: {said}"
    return (
        f"s3://{path} (bucket {bucket}, key {key}) cannot be fetched: {said}. No credentials were given: name a Secret "
        "with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (a SeldonDeployment's envSecretRefName, envFrom of an "
        "InferenceService's model)"
    )


def _download(files: Any, path: str, folder: Path) -> int:
    found = [one for one in files.find(path) if not one.endswith("/")]
    if not found:
        raise FileNotFoundError(path)
    for one in found:
        inner = one.removeprefix(path).lstrip("/") or one.rpartition("/")[2]
        target = folder / inner
        if not target.resolve().is_relative_to(folder.resolve()):
            raise FetchError(f"s3://{one} would lie outside of {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(one, str(target))
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
