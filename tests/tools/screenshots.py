"""Takes the README's pictures from the real thing: JupyterLab over an embedded cluster of its own.

With a folder as argument, every view in every theme instead, to be looked at.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import labs
import provision
from playwright.sync_api import Locator, Page, expect, sync_playwright

IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark", "contrast": "JupyterLab Dark High Contrast"}
TRAIN = """import os
import time

learning_rate = 0.1
epochs = 40

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
print(f"replica {rank} of {world} begins")
loss, accuracy = 2.3, 0.1
for epoch in range(1, epochs + 1):
    time.sleep(0.4)
    loss *= 1 - learning_rate * (1 + 0.05 * rank)
    accuracy += (0.98 - accuracy) * learning_rate
    print(f"epoch={epoch} loss={loss:.4f} accuracy={accuracy:.4f} progress={100 * epoch // epochs}%")
"""
BROKEN = """import numpy as np

features = np.zeros((64, 10))
weights = np.zeros((12, 4))
print("forward pass")
print((features @ weights).shape)
"""


def main(argv: list[str]) -> int:
    """Take them."""
    with tempfile.TemporaryDirectory(prefix="kf-shots-") as folder:
        place = Path(folder)
        os.environ["KF_DATA_DIR"] = str(place / "kf")
        os.environ["KF_CONTEXT"] = "embedded"
        from jupyterlab_kf import settings
        from jupyterlab_kf.embedded import daemon

        used = settings.load()
        daemon.start(used)
        try:
            _take(place, Path(argv[0]) if argv else None)
        finally:
            daemon.stop(used)
    return 0


def _take(place: Path, gallery: Path | None) -> None:
    root = place / "notebooks"
    root.mkdir()
    _notebook(root / "digits.ipynb", TRAIN)
    with labs.running(root, place / "home") as lab, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(provision.chromium()), args=labs.FLAGS)
        page = browser.new_page(viewport={"width": 1360, "height": 850}, device_scale_factor=1)
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        _served()
        _jobs()
        page.goto(f"{lab.url}/lab/tree/digits.ipynb?token={lab.token}&reset")
        labs.settle(page)
        labs.execute(page, "kf:open-panel")
        _wider(page)
        if gallery is None:
            _readme(page)
        else:
            gallery.mkdir(parents=True, exist_ok=True)
            for short, theme in THEMES.items():
                labs.execute(page, "apputils:change-theme", theme=theme)
                _gallery(page, gallery, short)
        browser.close()


def _jobs() -> None:
    import jupyterlab_kf as kf

    kf.train(BROKEN, workers=2, name="baseline", retries=0, cpu="200m", memory="256Mi")
    kf.train("print('epoch=1 loss=0.2')", workers=1, name="smoke-test").wait()
    kf.train(TRAIN.replace("0.4", "900"), workers=2, name="large-sweep", cpu="1900m")
    kf.train(
        TRAIN.replace("time.sleep(0.4)", "time.sleep(1.5)"), workers=4, name="digits", cpu="100m", memory="256Mi",
        params={"learning_rate": 0.12, "epochs": 60},
    )  # fmt: skip


def _wider(page: Page) -> None:
    """The side panel as wide as people draw it."""
    handle = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:visible").first
    box = handle.bounding_box()
    if box:
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 200, steps=4)
        page.mouse.up()


def _row(page: Page, name: str) -> Locator:
    return page.locator(f".kfx-JobRow[data-name='{name}']")


def _open(page: Page, name: str, tab: str) -> Locator:
    labs.execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name=name, tab=tab)
    return page.locator(".kfx-Job:visible").last


def _readme(page: Page) -> None:
    expect(_row(page, "digits")).to_have_attribute("data-phase", "Running")
    job = _open(page, "digits", "overview")
    expect(job.locator(".kfx-Plot canvas").first).to_be_visible(timeout=60_000)
    expect(job.locator(".kfx-Pre").last).to_contain_text(re.compile(r"epoch=(1[2-9]|[2-6]\d)"), timeout=60_000)
    page.screenshot(path=IMAGES / "panel.png")
    labs.execute(page, "docmanager:open", path="digits.ipynb")
    page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run'] jp-button").click()
    expect(page.locator(".kfx-Fit")).to_be_visible()
    page.screenshot(path=IMAGES / "launch.png")
    page.locator(".lm-TabBar-tab", has_text="Launch").locator(".lm-TabBar-tabCloseIcon").click()
    _asked(page).evaluate("page => page.scrollTo(0, 0)")
    page.wait_for_timeout(700)
    page.screenshot(path=IMAGES / "endpoint.png")


def _served() -> None:
    """An endpoint with a model and, for a fifth of the requests, a graph."""
    from sklearn.datasets import load_iris  # type: ignore[import-untyped]
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    import jupyterlab_kf as kf

    rows, labels = load_iris(return_X_y=True)
    line = LogisticRegression(max_iter=1000).fit(rows, labels)
    forest = RandomForestClassifier(20, random_state=0).fit(rows, labels)
    kf.serve(line, name="iris", example=rows[60:61])
    kf.serve(graph=kf.route(kf.unit(line), kf.unit(forest), by="random"), name="iris", canary=20)


def _asked(page: Page) -> Locator:
    """The tab of that endpoint, after requests for as long as its plots need to be worth a look."""
    import jupyterlab_kf as kf

    labs.execute(page, "kf:open-endpoint", namespace="default", name="iris")
    tab = page.locator(".kfx-EndpointPage:visible")
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("1/1", timeout=60_000)
    endpoint = kf.endpoint("iris")
    for _ in range(200):
        for _ in range(10):
            endpoint.predict([[6.1, 2.8, 4.7, 1.2]])
        page.wait_for_timeout(100)
    tab.get_by_role("button", name="Predict").click()
    expect(tab.get_by_role("region", name="Answer")).to_be_visible(timeout=60_000)
    return tab


def _gallery(page: Page, folder: Path, theme: str) -> None:
    shots = 0

    def shot(name: str) -> None:
        nonlocal shots
        shots += 1
        page.wait_for_timeout(700)
        page.screenshot(path=folder / f"{theme}-{shots:02d}-{name}.png")

    for tab in ("overview", "logs", "metrics", "events", "code", "yaml"):
        _open(page, "digits", tab)
        shot(tab)
    _open(page, "baseline", "overview")
    shot("failed")
    _open(page, "large-sweep", "overview")
    shot("waiting")
    labs.execute(page, "docmanager:open", path="digits.ipynb")
    page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run'] jp-button").click()
    shot("launch")
    labs.execute(page, "application:close")
    tab = _asked(page)
    shot("endpoint")
    tab.get_by_role("button", name="Edit the graph …").click()
    editor = tab.locator(".kfx-GraphEdit")
    expect(editor).to_be_visible(timeout=60_000)
    editor.get_by_role("combobox", name="Add a router").select_option("random")
    editor.scroll_into_view_if_needed()
    shot("editor")
    tab.get_by_role("button", name="Show what changes …").click()
    expect(tab.locator(".kfx-Review")).to_be_visible(timeout=60_000)
    shot("review")
    labs.execute(page, "application:close")


def _notebook(path: Path, *cells: str) -> None:
    code = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "cells": [{**code, "id": f"cell-{n}", "source": source} for n, source in enumerate(cells)],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
