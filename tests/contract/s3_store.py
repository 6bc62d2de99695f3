"""A real S3 server on this machine (moto's), as a process of its own, with one bucket and one pair of keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTOFMODELS", "AWS_SECRET_ACCESS_KEY": "this-is-told-to-nobody"}
BUCKET = "models"


@dataclass(frozen=True)
class Store:
    """The server: its address, the environment by which clients find it, and a client."""

    url: str
    environment: dict[str, str]
    files: Any


@contextmanager
def served() -> Iterator[Store]:
    """An S3 server from here to the end of the block."""
    words = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        key, secret = KEYS.values()
        files = fsspec.filesystem(
            "s3", key=key, secret=secret, client_kwargs={"endpoint_url": url}, use_listings_cache=False
        )
        files.mkdir(BUCKET)
        yield Store(url, {**KEYS, "AWS_ENDPOINT_URL": url}, files)
        process.kill()
