"""Endpoints as a person uses them: served from a cell, seen in the panel, tried, and shifted by keyboard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from labs import PATIENCE, Lab, execute, notebook, settle
from playwright.sync_api import Locator, Page, expect

import jupyterlab_kf as kf
from jupyterlab_kf.settings import Settings

BUILT = Path(kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

Open = Callable[..., Page]
KERNEL_IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
MODEL = "class {name}:\n    def predict(self, X, names=None):\n        return {by} * X\n"
BROKEN = MODEL.format(name="Broken", by=2) + "\n    def load(self):\n        raise KeyError('no such thing')\n"
SERVING = 4 * PATIENCE
"""Milliseconds until a version answers on a busy machine: its server starts, and Envoy for the first."""


@pytest.fixture
def doubler(cluster: Settings) -> Iterator[kf.Endpoint]:
    """Two versions, of which the first answers everything."""
    assert cluster
    kf.serve(MODEL.format(name="Doubler", by=2), name="doubler")
    yield kf.serve(MODEL.format(name="Tripler", by=3), name="doubler", canary=0)
    kf.endpoint("doubler").delete()


def row(page: Page, name: str) -> Locator:
    return page.locator(f".kfx-Endpoint[data-name='{name}']")


def violations(page: Page, context: str) -> list[str]:
    """What axe-core has to say of a part of the page."""
    report = Axe().run(page, context=context).response
    return [
        f"{context}: {rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in report["violations"]
        for node in rule["nodes"]
    ]


def picture(page: Page, name: str, folder: Path) -> None:
    page.screenshot(path=Path(os.environ.get("KF_PICTURES", folder)) / f"{name}.png")


def test_a_model_served_from_a_cell_is_seen_and_tried(
    open_lab: Open, lab: Lab, cluster: Settings, tmp_path: Path
) -> None:
    assert cluster
    serve = "%%kf_serve --name served --into endpoint\n" + MODEL.format(name="Doubler", by=2)
    notebook(lab, "serve.ipynb", "%load_ext jupyterlab_kf", serve)
    page = open_lab("/lab/tree/serve.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    card = page.locator(".kfx-EndpointCard")
    expect(card.locator(".kfx-Head .kfx-Badge")).to_contain_text("Ready", timeout=SERVING)
    execute(page, "kf:open-panel")
    expect(row(page, "served")).to_contain_text("v1 · 1/1 ready", timeout=PATIENCE)

    # Tried from the cell; what the model cannot take is told with its reason.
    request = card.get_by_role("textbox", name="What to predict for, as JSON")
    request.fill("[[1, 2.5]]")
    request.press("Shift+Enter")
    expect(card.get_by_role("region", name="Answer")).to_have_text("[[2,5]]", timeout=PATIENCE)
    expect(card).to_contain_text("version v1")
    expect(card).not_to_contain_text("No requests while")
    card.get_by_role("button", name="Right").click()
    expect(card.get_by_role("row", name="v1")).to_contain_text("1 (1)", timeout=PATIENCE)
    request.fill("[[1, 2")
    card.get_by_role("button", name="Predict").click()
    expect(card.get_by_role("alert")).to_contain_text("This is not JSON")
    assert violations(page, ".kfx-EndpointCard") == []
    assert violations(page, "#kf-panel") == []
    picture(page, "endpoint-cell", tmp_path)

    # Without a kernel and after a reload it is there, and live.
    execute(page, "docmanager:save")
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); return null; }")
    page.goto(page.url.split("?")[0] + f"?token={lab.token}")
    settle(page)
    expect(card.get_by_role("row", name="v1")).to_contain_text("1/1", timeout=PATIENCE)
    execute(page, "kf:open-panel")
    row(page, "served").click(button="right")
    page.get_by_role("menuitem", name="Delete Endpoint").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_contain_text("not on the cluster any more", timeout=PATIENCE)
    expect(row(page, "served")).to_have_count(0)


def test_requests_are_shifted_by_keyboard_promoted_and_brought_back(
    open_lab: Open, doubler: kf.Endpoint, tmp_path: Path
) -> None:
    page = open_lab()
    execute(page, "kf:open-panel")
    expect(row(page, "doubler")).to_contain_text("2/2 ready", timeout=PATIENCE)
    row(page, "doubler").get_by_role("button", name="doubler").first.focus()
    page.keyboard.press("Enter")
    tab = page.locator(".kfx-EndpointPage")
    expect(tab.get_by_role("heading", level=1)).to_have_text("doubler")
    expect(tab.get_by_role("img", name="Graph")).to_be_visible()
    slider = tab.get_by_role("slider", name="Percent of the requests to v2")
    expect(slider).to_have_value("0")
    whole = "node => node.parentElement.scrollHeight <= node.parentElement.clientHeight"
    assert tab.evaluate(whole), "the end of the page cannot be scrolled into sight"
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    expect(slider).to_have_value("13")
    expect(tab.get_by_role("slider", name="Percent of the requests to v1")).to_have_value("87")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    review = tab.get_by_role("group", name="Review of the change")
    expect(review).to_contain_text("+    traffic: 87", timeout=PATIENCE)
    assert doubler.versions == {"v1": 100, "v2": 0}, "nothing is changed by looking"
    picture(page, "endpoint-review", tmp_path)
    expect(review.get_by_role("button", name="Apply")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tab.get_by_role("status").first).to_contain_text("Done: traffic", timeout=PATIENCE)
    assert doubler.versions == {"v1": 87, "v2": 13}
    expect(row(page, "doubler")).to_contain_text("v1 87 %, v2 13 %", timeout=PATIENCE)

    # What is asked of it is seen: as numbers, and as plots.
    for _ in range(30):
        doubler.predict([[1.0]])
    expect(tab.locator("canvas").first).to_be_visible(timeout=PATIENCE)
    picture(page, "endpoint-light", tmp_path)
    assert violations(page, ".kfx-EndpointPage") == []
    page.set_viewport_size({"width": 1360, "height": 860})
    whole = "node => node.scrollWidth <= node.clientWidth"
    table = tab.get_by_role("region", name="Versions of endpoint doubler")
    assert table.evaluate(whole), "the buttons cover the last numbers"

    tab.get_by_role("button", name="Promote v2").click()
    review.get_by_role("button", name="Apply").click()
    expect(tab.locator("tr[data-version=v1]")).to_have_count(0, timeout=SERVING)
    assert doubler.versions == {"v2": 100}
    tab.get_by_role("button", name="Roll back to revision 3").click()
    review.get_by_role("button", name="Show all of it").click(timeout=PATIENCE)
    expect(review).to_contain_text("name: v1")
    review.get_by_role("button", name="Apply").click()
    expect(tab.get_by_role("status").first).to_contain_text("Done: roll back to 3", timeout=SERVING)
    expect(tab.get_by_role("table").last).to_contain_text("roll back to 3")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_a_version_that_fails_says_why_in_every_theme(
    open_lab: Open, cluster: Settings, theme: str, tmp_path: Path
) -> None:
    assert cluster
    endpoint = kf.serve(MODEL.format(name="Doubler", by=2), name="themed")
    try:
        with pytest.raises(kf.EndpointNotReadyError):
            kf.serve(BROKEN, name="themed", canary=20)
        page = open_lab()
        execute(page, "apputils:change-theme", theme=theme)
        execute(page, "kf:open-panel")
        expect(row(page, "themed")).to_contain_text("Degraded", timeout=PATIENCE)
        execute(page, "kf:open-endpoint", namespace="default", name="themed")
        tab = page.locator(".kfx-EndpointPage")
        expect(tab.get_by_role("note")).to_contain_text("KeyError: 'no such thing'", timeout=PATIENCE)
        tab.get_by_role("button", name="Take v2 away").click()
        review = tab.get_by_role("group", name="Review of the change")
        expect(review).to_contain_text("-  - name: v2", timeout=PATIENCE)
        found: list[Any] = [*violations(page, ".kfx-EndpointPage"), *violations(page, "#kf-panel")]
        picture(page, f"endpoint-{theme.replace(' ', '-').lower()}", tmp_path)
        review.get_by_role("button", name="Apply").click()
        expect(tab.locator("tr[data-version=v2]")).to_have_count(0, timeout=PATIENCE)
        execute(page, "apputils:change-theme", theme="JupyterLab Light")
        assert found == []
    finally:
        endpoint.delete()
