"""An image's environment, with a kubelet's words on the way: what is present, what is made, what could not be."""

from __future__ import annotations

import time
from collections.abc import Callable

from jupyterlab_kf.embedded.images import Environment, ImageError, InterruptedMakingError
from jupyterlab_kf.embedded.kubelet import states
from jupyterlab_kf.embedded.kubelet.commons import Commons
from jupyterlab_kf.embedded.kubelet.slots import Slot

Tell = Callable[[str, str, str], None]
"""Writes an event about the pod: level, reason, message."""


async def pull(slot: Slot, commons: Commons, event: Tell) -> Environment:
    """The environment that a container's image stands for, made if need be.

    Raises:
        ImageError: it cannot be made, or may not.
    """
    image = str(slot.spec.get("image", ""))
    found = commons.images.resolve(image)
    if isinstance(found, Environment):
        where = found.nothing and f"it has nothing to do here: {found.nothing}"
        where = where or f"it stands for the Python environment {found.prefix}"
        if found.programs.entrypoint:
            where += f" and the program {' '.join(found.programs.entrypoint)}"
        event("Normal", "Pulled", f'Container image "{image}" already present on machine: {where}')
        return found
    if slot.spec.get("imagePullPolicy") == "Never":
        raise ImageError(f'Container image "{image}" is not present with pull policy of Never')
    event("Normal", "Pulling", f'Pulling image "{image}": making the Python environment {found.name!r}')
    begun = time.monotonic()
    made = await commons.make(
        found, lambda: event("Normal", "Pulling", f"Waiting for another process that makes {found.name!r}")
    )
    taken = f"{time.monotonic() - begun:.1f}s"
    event("Normal", "Pulled", f'Successfully pulled image "{image}" in {taken}: it is now {made.prefix}')
    slot.pulls = 0
    return made


def failed(slot: Slot, error: ImageError, backoff_base: float, event: Tell) -> None:
    """The container waits to try again, for longer each time; at once where the making was only interrupted."""
    image = slot.spec.get("image", "")
    if isinstance(error, InterruptedMakingError):
        event("Normal", "Pulling", f'Pulling image "{image}" again: {error.message}')
        return
    slot.retry_at = time.time() + states.pull_backoff(slot.pulls, backoff_base)
    slot.pulls += 1
    event("Warning", "Failed", f'Failed to pull image "{image}": {error.message}')
    event("Warning", "Failed", "Error: ErrImagePull")
    slot.waiting = ("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error.message}')
    event("Normal", "BackOff", f'Back-off pulling image "{image}"')
