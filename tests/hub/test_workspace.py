"""The volume of a person's home serves their jobs: code too large to travel goes there, results come from there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hubs import Hub, Person, running

PROFILES = """
profiles:
  - slug: small
    display_name: Small
    default: true
    cpu: {request: 100m, limit: 1}
    memory: {request: 256Mi, limit: 2Gi}
"""

CELL = """
import os
import jupyterlab_kf as kf

with open("weights.bin", "wb") as file:
    file.write(os.urandom(9 << 20))

def main():
    import os
    with open(os.path.join(os.environ["KF_OUTPUT"], "size.txt"), "w") as file:
        file.write(str(os.path.getsize("weights.bin")))

job = kf.train(main, name="large", files=["weights.bin"], output="results", profile="small")
job.wait(timeout=120)
job.download()
print(open("results/size.txt").read())
"""
"""9 MiB that cannot be packed: more than travels without a volume."""

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub"), profiles=PROFILES, users="ann") as found:
        yield found


def test_code_that_is_too_large_to_travel_goes_by_the_volume_of_the_home(hub: Hub) -> None:
    ann = Person(hub, "ann")
    ann.spawn(hardware="small")
    ann.wait_ready()
    assert ann.run("python3", CELL).strip().endswith(str(9 << 20))
    replica = hub.pods("kf-ann")["large-master-0"]["spec"]
    claims = {one.get("persistentVolumeClaim", {}).get("claimName") for one in replica["volumes"]}
    assert "workspace-ann" in claims
    # One copy, in the home itself.
    assert ann.run("python3", "import os; print(len(os.listdir('.jupyterlab-kf/code')))").strip() == "1"
