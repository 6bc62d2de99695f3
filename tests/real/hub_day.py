"""What a hub does in a day, as one program: a person's server is asked for, watched, run, stopped, and forgotten.

Run by ``test_rights.py`` with the kubeconfig of an account that has exactly the hub's role, in one namespace for all
servers. The spawner is the hub's own; the hub around it is played.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any
from unittest.mock import MagicMock

import pytest
from jupyterhub.objects import Hub, Server
from jupyterhub.spawner import SpawnException
from jupyterlab_kf_hub.config import servers
from jupyterlab_kf_hub.spawner import ProfileSpawner
from traitlets.config import Config

SPACE = os.environ["HUB_NAMESPACE"]
SLEEPS = ["python3", "-c", "import time; print('up', flush=True); time.sleep(600)"]


def spawner(person: str = "ann") -> ProfileSpawner:
    """A person's spawner, configured as a hub on a cluster configures it."""
    config = Config()
    servers(config)
    config.KubeSpawner.enable_user_namespaces = False
    config.KubeSpawner.namespace = SPACE
    config.KubeSpawner.image = "python:3"
    config.KubeSpawner.cmd = SLEEPS
    config.KubeSpawner.delete_grace_period = 0
    config.KubeSpawner.http_timeout = 2  # nobody listens there
    config.KubeSpawner.service_account = None
    user = MagicMock(server=Server(), url="/user/ann/", escaped_name=person, groups=[], spawners={})
    user.name = person  # a mock's own name is something else
    row = MagicMock(server=None)
    row.name = ""
    return ProfileSpawner(hub=Hub(), user=user, orm_spawner=row, config=config, api_token="t", oauth_client_id="c")


async def told(one: ProfileSpawner) -> list[str]:
    """The sentences of a start."""
    return [str(step["message"]) async for step in one.progress()]


async def start(one: ProfileSpawner) -> Any:
    """Start a server as the hub does, and answer where it is."""
    await one.accept({})
    one._start_future = asyncio.ensure_future(one.start())
    seen = asyncio.ensure_future(told(one))
    url = await one._start_future
    assert any("ann" in line or "server" in line for line in await seen), seen
    return url


async def main() -> int:
    """All of it."""
    one = spawner()
    assert 'name="hardware"' in await one.offer(), "the form, without what is free: the hub may not see nodes"
    assert str(await start(one)).startswith("http://")
    assert await one.poll() is None
    # The hub was restarted, and another start of the server is asked for: the pod in the way is found and deleted.
    again = spawner()
    assert await start(again)
    await again.stop()
    assert await again.poll() is not None
    # Room for one claim: the second asks whether the first one is there before it says what is wrong.
    other = spawner("bob")
    with pytest.raises(SpawnException, match="exceeded quota"):
        await start(other)
    await again.delete_forever()
    print("the day is done")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
