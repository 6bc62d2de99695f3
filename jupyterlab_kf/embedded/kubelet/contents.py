"""What packages an image has on this node: those of the environment that it stands for.

An environment that is there is asked, by its own Python, and again only when something was installed; one that would
have to be made first is known from its recipe.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Final

from jupyterlab_kf.embedded.images import Environment, ImageError, Images, Recipe, clean_environment

_ASK: Final = """
import json
from importlib import metadata
found = {}
for one in metadata.distributions():
    if one.metadata["Name"]:
        found.setdefault(one.metadata["Name"], one.version)
print(json.dumps(found))
"""
_PINNED: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?:==([\w.!+-]+))?", re.MULTILINE)
_LIMIT: Final = 20.0
"""Seconds within which an environment has to answer."""

_Stamp = tuple[tuple[str, int], ...]


class Packages:
    """Answers for images, one environment at a time.

    Args:
        images: what image names stand for.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._known: dict[Path, tuple[_Stamp, dict[str, str]]] = {}

    async def of(self, image: str) -> dict[str, str]:
        """Name to version, as the environment writes them.

        Raises:
            ImageError: the environment cannot be asked.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, self._images.resolve, image)
        if isinstance(found, Recipe):
            return await loop.run_in_executor(None, _of_recipe, found)
        if found.nothing:
            return {}
        stamp = await loop.run_in_executor(None, _stamp, found.prefix)
        known = self._known.get(found.prefix)
        if known is None or known[0] != stamp:
            known = self._known[found.prefix] = (stamp, await _ask(found))
        return known[1]


def _of_recipe(recipe: Recipe) -> dict[str, str]:
    lines = [*(recipe.lock.read_text().splitlines() if recipe.lock else ()), *recipe.requirements]
    return {match[1]: match[2] or "" for line in lines if (match := _PINNED.match(line))}


def _stamp(prefix: Path) -> _Stamp:
    """When something was installed there last."""
    return tuple((str(path), path.stat().st_mtime_ns) for path in sorted(prefix.glob("lib*/python3*/site-packages")))


async def _ask(environment: Environment) -> dict[str, str]:
    python = str(environment.bin / "python")
    process = await asyncio.create_subprocess_exec(
        python, "-c", _ASK, cwd=environment.prefix, env=clean_environment(os.environ, [environment.bin]),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LIMIT):
            output, errors = await process.communicate()
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise ImageError(f"{python} did not say within {_LIMIT:.0f} s what packages it has") from error
        raise
    if process.returncode:
        raise ImageError(f"{python} cannot say what packages it has: {errors.decode(errors='replace')[-500:]}")
    said: dict[str, str] = json.loads(output)
    return said
