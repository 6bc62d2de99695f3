"""Writes down what Seldon's own executor answers to the table of cases: ``record_executor.py PATH-OF-THE-BINARY``.

The binary is built with Go from the tag v1.17.1 of SeldonIO/seldon-core (in ``executor``, with ``_operator`` a link to
``../operator``: ``go build ./cmd/executor``). No registry of Go modules serves it, so the record is kept, not remade.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import engine_rpc
from engine_bed import COPIED, COPIES, GOLDEN, METRICS, Running, copies, engine, series
from engine_cases import GROUPS
from engine_rpc import RPC_GOLDEN, RPC_GROUPS


async def main(binary: str) -> None:
    """Play every case and write the records."""
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    for file, groups, ask in ((GOLDEN, GROUPS, Running.ask), (RPC_GOLDEN, RPC_GROUPS, engine_rpc.ask)):
        record: dict[str, dict[str, Any]] = {}
        for group in groups:
            with tempfile.TemporaryDirectory() as folder:
                async with engine([binary], group, {}, Path(folder)) as running:
                    record[group["name"]] = {case["name"]: await ask(running, case) for case in group["cases"]}
        file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        print(f"{sum(map(len, record.values()))} cases written to {file}")
    with tempfile.TemporaryDirectory() as folder:
        async with engine([binary], GROUPS[0], {}, Path(folder)) as running:
            await running.ask(GROUPS[0]["cases"][0])
            page = (await running.ask({"path": "/metrics", "method": "GET"}))["body"]
    METRICS.write_text(json.dumps(sorted(series(page)), indent=1) + "\n")
    copied = {}
    for protocol in COPIED:
        with tempfile.TemporaryDirectory() as folder:
            copied[protocol] = await copies([binary], protocol, Path(folder))
    COPIES.write_text(json.dumps(copied, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
