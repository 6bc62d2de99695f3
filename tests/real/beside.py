"""``jupyter kf controllers`` beside a real cluster, as a user with the rights of its role."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from bed.api import until
from bed.cluster import RealCluster

# The chart's numbers are those of a cluster: half a CPU for each engine, and 20 seconds before it is asked at all.
_OPTIONS = {"serving": ("--engine-cpu", "50m", "--ready-after", "1"), "katib": ()}


class Controllers:
    """A family's controllers in a namespace, from here to the end of the block."""

    def __init__(self, cluster: RealCluster, family: str, user: str, space: str, folder: Path) -> None:
        self.environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig_for(user, namespace=space)),
            "KF_DATA_DIR": str(folder),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        words = ["controllers", "--only", family, "-n", space, *_OPTIONS[family]]
        self.command = [sys.executable, "-m", "jupyterlab_kf.cli", *words]
        self.log = folder / f"controllers-{family}.log"

    def told(self) -> str:
        """The end of their log."""
        return self.log.read_text()[-3000:]

    def __enter__(self) -> Self:
        self._start()
        return self

    def again(self) -> None:
        """Started anew, as its Deployment does with one that ended because it lost its Lease."""
        self.process.kill()
        self.process.wait()
        self._start()

    def _start(self) -> None:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=out, stderr=out)
        until(lambda: "leading as" in self.log.read_text(), seconds=60, what=f"words in {self.log}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
