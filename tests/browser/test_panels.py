"""The panels as a person uses them: JupyterLab in a browser, over the running cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import jupyterlab_kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings

from conftest import Lab  # isort: skip  this folder's conftest

BUILT = Path(jupyterlab_kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

FAST = "import time\nfor epoch in range(4):\n    time.sleep(0.2)\n    print(f'epoch={epoch} loss={1 / (epoch + 1)}')\n"
SLOW = FAST.replace("range(4)", "range(4000)")
BROKEN = "print('loading')\nrows = [1, 2, 3]\nprint(rows[7])\n"
READY = "async () => { await window.jupyterapp.restored; return null; }"
EXECUTE = "async ([id, args]) => { await window.jupyterapp.commands.execute(id, args); return null; }"
KERNEL_IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
PATIENCE = 60_000

Open = Callable[..., Page]
Kubectl = Callable[..., Any]


@pytest.fixture
def open_lab(browser: Browser, lab: Lab) -> Iterator[Open]:
    """Opens pages that are closed again, and that must not have met an error."""
    pages: list[Page] = []
    errors: list[str] = []

    def opening(path: str = "/lab") -> Page:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{lab.url}{path}?token={lab.token}&reset")
        settle(page)
        return page

    yield opening
    for page in pages:
        page.close()
    assert not errors, errors


def settle(page: Page) -> None:
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.evaluate(READY)
    page.locator("#jupyterlab-splash").wait_for(state="detached")


def execute(page: Page, command: str, **args: Any) -> None:
    page.evaluate(EXECUTE, [command, args])


def row(page: Page, name: str) -> Any:
    return page.locator(f".kfx-JobRow[data-name='{name}']")


def notebook(lab: Lab, name: str, *cells: str) -> None:
    code = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "cells": [{**code, "id": f"cell-{n}", "source": source} for n, source in enumerate(cells)],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (lab.root / name).write_text(json.dumps(document))


def manifest(name: str) -> str:
    container = {"name": "pytorch", "image": "jupyterlab-kf/pytorch:1", "command": ["true"]}
    spec = {"Worker": {"replicas": 3, "template": {"spec": {"containers": [container]}}}}
    return json.dumps(
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": spec},
        }
    )


def test_a_notebook_becomes_a_job_in_two_clicks(open_lab: Open, lab: Lab, cluster: Settings) -> None:
    assert cluster
    notebook(lab, "two-clicks.ipynb", FAST)
    page = open_lab("/lab/tree/two-clicks.ipynb")
    page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run'] jp-button").click()
    page.get_by_role("button", name="Launch", exact=True).click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("heading", level=1)).to_contain_text("two-clicks-")
    job.get_by_role("tab", name="Log").click()
    expect(job.get_by_role("log")).to_contain_text("epoch=3", timeout=PATIENCE)
    expect(job.locator(".kfx-Badge").first).to_contain_text("Succeeded", timeout=PATIENCE)
    expect(page.get_by_text("succeeded").last).to_be_visible()
    job.get_by_role("tab", name="Code").click()
    expect(job).to_contain_text("time.sleep(0.2)")


def test_what_kubectl_makes_and_deletes_is_seen(open_lab: Open, kubectl: Kubectl) -> None:
    page = open_lab()
    execute(page, "kf:open-panel")
    kubectl("create", "-f", "-", stdin=manifest("by-kubectl"))
    expect(row(page, "by-kubectl")).to_contain_text("3 replicas", timeout=PATIENCE)
    kubectl("delete", "pytorchjob", "by-kubectl")
    expect(row(page, "by-kubectl")).to_have_count(0, timeout=PATIENCE)


def test_a_failure_says_why(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    jupyterlab_kf.train(BROKEN, workers=1, name="why", retries=0, replace=True)
    page = open_lab()
    execute(page, "kf:open-panel")
    row(page, "why").click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("note")).to_contain_text("IndexError: list index out of range", timeout=PATIENCE)
    expect(job).to_contain_text("Traceback of master-0")
    job.get_by_role("tab", name="Events").click()
    expect(job.get_by_role("table")).to_contain_text("Scheduled")


def test_stop_resume_and_the_places_that_tell(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    job = jupyterlab_kf.train(SLOW, workers=1, name="stoppable", replace=True)
    page = open_lab()
    expect(page.locator(".kfx-Status")).to_contain_text("running", timeout=PATIENCE)
    page.locator(".kfx-Status").click()
    expect(row(page, "stoppable")).to_have_attribute("data-phase", "Running", timeout=PATIENCE)
    row(page, "stoppable").hover()
    row(page, "stoppable").get_by_role("button", name="Stop stoppable").click()
    expect(row(page, "stoppable")).to_have_attribute("data-phase", "Suspended", timeout=PATIENCE)
    expect(page.locator(".kfx-Status")).to_have_count(0)
    row(page, "stoppable").click(button="right")
    page.get_by_role("menuitem", name="Resume Job").click()
    expect(row(page, "stoppable")).to_have_attribute("data-phase", "Running", timeout=PATIENCE)
    execute(page, "running:show-panel")
    expect(page.locator(".jp-RunningSessions").get_by_text("stoppable")).to_be_visible()
    job.delete()


def test_a_cell_is_live_without_its_kernel_and_after_a_reload(open_lab: Open, lab: Lab, cluster: Settings) -> None:
    assert cluster
    train = f"import jupyterlab_kf\n\njob = jupyterlab_kf.train({SLOW!r}, workers=1, name='cellular')"
    notebook(lab, "cell.ipynb", "%load_ext jupyterlab_kf", train, "job")
    page = open_lab("/lab/tree/cell.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    card = page.locator(".kfx-Card")
    expect(card.locator(".kfx-Badge")).to_contain_text("Running", timeout=PATIENCE)
    execute(page, "docmanager:save")
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); return null; }")
    before = card.locator(".kfx-Pre").last.inner_text()
    page.wait_for_function("text => document.querySelector('.kfx-Card .kfx-Pre').innerText !== text", arg=before)
    page.goto(page.url.split("?")[0] + f"?token={lab.token}")
    settle(page)
    expect(card.locator(".kfx-Badge")).to_contain_text("Running", timeout=PATIENCE)
    jupyterlab_kf.delete("cellular")
    expect(card).to_contain_text("not on the cluster any more", timeout=PATIENCE)


def test_the_layout_is_found_again(open_lab: Open, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=manifest("kept-open"))
    page = open_lab()
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="kept-open", tab="yaml")
    expect(page.get_by_role("textbox", name="Manifest of kept-open")).to_contain_text("kind: PyTorchJob")
    page.wait_for_timeout(1500)  # Lab keeps its layout a moment after it changed
    page.goto(page.url.split("?")[0])
    settle(page)
    expect(page.locator(".kfx-Job").get_by_role("heading", level=1)).to_have_text("kept-open")
    kubectl("delete", "pytorchjob", "kept-open")
    expect(page.locator(".kfx-Job")).to_contain_text("This job was deleted.", timeout=PATIENCE)


def test_an_outage_is_told_and_ends(open_lab: Open, cluster: Settings, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=manifest("survivor"))
    page = open_lab()
    execute(page, "kf:open-panel")
    expect(row(page, "survivor")).to_be_visible()
    daemon.stop(cluster, keep_pods=True)
    expect(page.locator("#kf-panel")).to_contain_text("asleep", timeout=PATIENCE)
    expect(row(page, "survivor")).to_be_visible()
    daemon.start(cluster)
    expect(page.locator("#kf-panel")).to_contain_text("connected", timeout=PATIENCE)
    kubectl("delete", "pytorchjob", "survivor")
    expect(row(page, "survivor")).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_nothing_is_in_the_way_of_a_screen_reader(
    open_lab: Open, cluster: Settings, theme: str, tmp_path: Path
) -> None:
    assert cluster
    jupyterlab_kf.train(BROKEN, workers=2, name="axe", retries=0, replace=True)
    page = open_lab()
    execute(page, "apputils:change-theme", theme=theme)
    execute(page, "kf:open-panel")
    row(page, "axe").click()
    expect(page.locator(".kfx-Why")).to_be_visible(timeout=PATIENCE)
    found = [violation for context in ("#kf-panel", ".kfx-Job") for violation in violations(page, context)]
    execute(page, "kf:launch")
    expect(page.locator(".kfx-Fit")).to_be_visible(timeout=PATIENCE)
    found += violations(page, ".kfx-Launch")
    page.screenshot(path=tmp_path / "launch.png")
    execute(page, "apputils:change-theme", theme="JupyterLab Light")
    assert not found, "\n".join(found)


def violations(page: Page, context: str) -> list[str]:
    """What axe-core has to say of a part of the page."""
    report = Axe().run(page, context=context).response
    return [
        f"{context}: {rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in report["violations"]
        for node in rule["nodes"]
    ]
