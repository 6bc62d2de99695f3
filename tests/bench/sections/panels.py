"""From a change in the cluster to the row on the screen, and what the panels cost at the start of JupyterLab.

Each change is of an object in the cluster, made beside JupyterLab, and is seen twice in the same Chromium: by the side
panel, and by the peer, a page that asks the same server for the same page of rows each second, as other panels do.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundled
import labs
import provision
from measure import Row, in_turn
from playwright.sync_api import Page, expect, sync_playwright

from sections.api import Raw

PATH = "/apis/kubeflow.org/v1/namespaces/default/pytorchjobs"
CHANGES = 100
SHOWN = 50
# When a row showed a text, in milliseconds of the page's clock, told by the first mutation that brought it there.
SEEN = """([name, text]) => {
  const root = document.querySelector('#kf-panel') ?? document.body;
  window.seen = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${name} did not show '${text}' in 30 s`)), 30_000);
    const look = () => {
      const row = root.querySelector(`[data-name="${name}"]`);
      if (row?.textContent.includes(text)) {
        observer.disconnect();
        resolve(performance.timeOrigin + performance.now());
      }
    };
    const observer = new MutationObserver(look);
    observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
  });
  return null;
}"""
NAMES = "() => [...document.querySelectorAll('#kf-panel .kfx-JobRow')].map(row => row.dataset.name)"
NOW = "() => performance.timeOrigin + performance.now()"
# The peer: the first rows of the same order from the same server, each second, put on the page as they are.
POLL = """([url, shown]) => {
  document.body.replaceChildren();
  const read = async () => {
    const { items } = await (await fetch(url, { cache: 'no-store' })).json();
    document.body.replaceChildren(...items.slice(0, shown).map(row => {
      const line = document.createElement('div');
      line.dataset.name = row.name;
      line.textContent = `${row.name} ${row.phase} ${row.replicas} replicas`;
      return line;
    }));
  };
  void read();
  setInterval(read, 1000);
  return null;
}"""


def panels() -> Iterator[Row]:
    """What a start costs, then the changes of 100 and of 10,000 jobs."""
    yield from _start()
    with (
        tempfile.TemporaryDirectory(prefix="kf-bench-lab-") as folder,
        sync_playwright() as driver,
        labs.running(_made(Path(folder, "notebooks")), Path(folder, "home")) as lab,
    ):
        browser = driver.chromium.launch(executable_path=str(provision.chromium()), args=labs.FLAGS)
        ours, peer = browser.new_page(viewport={"width": 1440, "height": 900}), browser.new_page(bypass_csp=True)
        ours.set_default_timeout(120_000)
        ours.goto(f"{lab.url}/lab?token={lab.token}&reset")
        labs.settle(ours)
        labs.execute(ours, "kf:open-panel")
        rows = f"{lab.url}/jupyterlab-kf/jobs?limit={SHOWN}&sort=created&token={lab.token}"
        peer.goto(rows)
        peer.evaluate(POLL, [rows, SHOWN])
        raw, made = Raw(), 0
        for total in (100, 10_000):
            for number in range(made, total):
                raw.call("POST", PATH, _job(number))
            made = total
            expect(ours.locator("#kf-panel").get_by_role("grid")).to_have_attribute("aria-rowcount", str(total))
            found = list(_changes(raw, (ours, peer)))
            for name, percent in (("p50", 50), ("p99", 99)):
                yield Row(
                    f"{total} jobs: change to row, {name}",
                    [_percentile([one for one, _ in found], percent)],
                    [_percentile([other for _, other in found], percent)],
                    "asked each second",
                    "<= 100 ms",
                    "ms",
                )
        browser.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _job(number: int) -> dict[str, Any]:
    """A job that is suspended: it changes when it is changed, and costs no process."""
    container = {"name": "pytorch", "image": "jupyterlab-kf/pytorch:1", "command": ["true"]}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": f"row-{number:05d}", "namespace": "default"},
        "spec": {
            "runPolicy": {"suspend": True},
            "pytorchReplicaSpecs": {"Worker": {"replicas": 1, "template": {"spec": {"containers": [container]}}}},
        },
    }


def _changes(raw: Raw, pages: tuple[Page, Page]) -> Iterator[tuple[float, float]]:
    """For each change the milliseconds until each page showed it, from the moment before it was sent."""
    headers = raw.headers | {"Content-Type": "application/merge-patch+json"}
    chance = random.Random(1)
    ahead = [_ahead(page) for page in pages]
    names = pages[0].evaluate(NAMES)[:8]  # in sight, so that both show them
    for number in range(CHANGES + 5):
        name, count = names[number % len(names)], 2 + number
        for page in pages:
            page.evaluate(SEEN, [name, f" {count} replicas"])
        pages[0].wait_for_timeout(chance.uniform(0, 1000))  # at any moment of the peer's second
        body = json.dumps({"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": count}}}})
        start = time.time() * 1000
        raw.connection.request("PATCH", f"{PATH}/{name}", body, headers)
        answer = raw.connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        seen = [page.evaluate("() => window.seen") - by - start for page, by in zip(pages, ahead, strict=True)]
        if number >= 5:  # the first ones warm everything up
            yield seen[0], seen[1]


def _ahead(page: Page) -> float:
    """The milliseconds by which the page's clock is ahead of ours, as the quickest of many questions tells."""
    found = []
    for _ in range(50):
        before = time.time() * 1000
        there = page.evaluate(NOW)
        after = time.time() * 1000
        found.append((after - before, there - (before + after) / 2))
    return min(found)[1]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _start() -> Iterator[Row]:
    """What JupyterLab's start has more of: the server's import and set-up, and bytes for the browser."""

    def run(code: str) -> float:
        program = (
            "import time; from jupyter_server.serverapp import ServerApp; app = ServerApp()\n"
            "app.initialize(argv=[], new_httpserver=False, find_extensions=False)\n"
            f"start = time.perf_counter(); {code}\nprint((time.perf_counter() - start) * 1000)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return float(done.stdout.splitlines()[-1])

    ours, peer = in_turn(
        lambda: run("import jupyterlab_kf.handlers as h; h._load_jupyter_server_extension(app)"),
        lambda: run("import kubernetes"),
        5,
    )
    yield Row("server extension: import and set-up", ours, peer, "import kubernetes", "<= 60 ms", "ms")
    if sizes := bundled.sizes():
        start = sum(bundled.started(sizes).values()) / 1024
        yield Row("bundle, gzip: at start", [start], [sum(sizes.values()) / 1024], "all of it", "<= 120 KB", "KB")
