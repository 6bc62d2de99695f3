"""Which container has which GPU: as many as it asked for, nobody else's, none if it asked for none.

Pure bookkeeping over device numbers. What was given out stands in a container's own environment, so a node that was
restarted reads it there. On a machine without GPUs it says nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RESOURCE: Final = "nvidia.com/gpu"
VARIABLES: Final = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class Devices:
    """The GPUs of this machine, by number.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._given: dict[tuple[str, str], tuple[int, ...]] = {}

    def environment(self, uid: str, container: Mapping[str, Any]) -> dict[str, str]:
        """What tells the container's frameworks which devices are its own; the same at every restart."""
        if not self._count:
            return {}
        key = (uid, str(container["name"]))
        if key not in self._given:
            wanted = int(((container.get("resources") or {}).get("limits") or {}).get(RESOURCE, 0))
            taken = {number for numbers in self._given.values() for number in numbers}
            self._given[key] = tuple(n for n in range(self._count) if n not in taken)[:wanted]
        visible = ",".join(map(str, self._given[key]))
        return dict.fromkeys(VARIABLES, visible)

    def restore(self, uid: str, container: str, env: Mapping[str, str]) -> None:
        """Take up what a container was given before this node was restarted."""
        if self._count:
            numbers = (int(n) for n in env.get(VARIABLES[0], "").split(",") if n.isdigit())
            self._given[uid, container] = tuple(n for n in numbers if n < self._count)

    def free(self, uid: str) -> None:
        """The pod has ended."""
        self._given = {key: numbers for key, numbers in self._given.items() if key[0] != uid}
