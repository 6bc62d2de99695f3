"""What kernels in pods ask of a cluster in a day, as one program: started, restarted, looked for, shut down.

Run by ``test_rights.py`` with the kubeconfig of a user who has the shipped roles and the right to forward ports, which
is the way to a pod from outside.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

from jupyterlab_kf import cli, settings
from jupyterlab_kf.services.kernels import finding
from jupyterlab_kf.services.kernels.kept import Kept

PROFILES = """
profiles:
  - slug: small
    display_name: Small
    image: jupyterlab-kf/kernel:1
    cpu: {request: 100m, limit: 1}
    memory: {request: 64Mi, limit: 1Gi}
"""


async def day() -> None:
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=90)
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=90)
        # As the next start of a server does.
        state = await manager.provisioner.get_provisioner_info()
        kept = Kept(manager.kernel_id, "kf-small", state)
        assert (await asyncio.to_thread(finding.look, settings.load(), [kept])) == {manager.kernel_id: True}
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    folder = Path(os.environ["KF_DATA_DIR"])
    (folder / "profiles.yaml").write_text(PROFILES)
    assert cli.main(["kernels", "install", "--prefix", str(folder)]) == 0
    logging.basicConfig(level=logging.INFO)
    asyncio.run(day())
    print("the day is done")
