"""Records what the real cluster shows of each situation, into tests/golden/explain.

python tests/real/record_explain.py [SITUATION ...]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from bed.binaries import KUBERNETES_VERSION
from bed.cluster import RealCluster
from record import laid_out
from situations import SITUATIONS, Stage
from stages import GOLDEN, on_node, record, simulated

SOURCE = f"Kubernetes {KUBERNETES_VERSION}, training operator 1.8.1"


async def play(stage: Stage, wanted: set[str]) -> list[str]:
    """Play and write; the names of what could not be brought about."""
    failed = []
    for one in SITUATIONS:
        if one.needs not in stage.has or (wanted and one.name not in wanted):
            continue
        began = time.monotonic()
        space = await stage.namespace(f"record-{one.name}")
        try:
            found = record(one, SOURCE, await stage.play(one, space))
        except TimeoutError as error:
            failed.append(f"{one.name}: {error}")
        else:
            (GOLDEN / f"{one.name}.json").write_text(laid_out(found, depth=2) + "\n")
            print(f"{one.name} ({time.monotonic() - began:.1f} s): {found['sentence']}", flush=True)
        finally:
            await stage.drop(space)
    await stage.client.close()
    return failed


def main() -> int:
    """On clusters of their own."""
    os.environ["KF_PROVISION"] = "1"
    GOLDEN.mkdir(exist_ok=True)
    wanted, failed = set(sys.argv[1:]), []
    for with_node, stage in ((False, simulated), (True, on_node)):
        cluster = RealCluster.start("record-explain", with_node=with_node, nodes=1 if with_node else 3)
        try:
            failed += asyncio.run(play(stage(cluster), wanted))
        finally:
            cluster.stop()
    print("\n".join(f"not seen: {one}" for one in failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
