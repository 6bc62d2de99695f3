"""A study as a person sees it: live in a cell, there without a kernel, in its tab, brushed, promoted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import labs
import pytest
from api_harness import Served, fresh_server  # noqa: F401  the fixture
from axe_playwright_python.sync_playwright import Axe
from labs import PATIENCE, Lab, execute, notebook, settle
from livestudies import LiveStudy
from playwright.sync_api import Browser, Locator, Page, expect

import jupyterlab_kf as kf
from jupyterlab_kf.services.tuning import studies_of
from jupyterlab_kf.settings import Settings

BUILT = Path(kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

Open = Callable[..., Page]
KERNEL_IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
LONG = 180_000
"""Milliseconds that a study of a dozen trials may take."""
TUNE = """%%kf_tune loss --trials 12 --parallel 2 --algorithm random --max-failed 9 --name bowl --set random_state=3
lr = loguniform(1e-4, 1.0)
units = integer(8, 64)
act = choice("relu", "tanh")
import time
for epoch in range(3):
    time.sleep(0.2)
    print(f"loss={abs(lr - 0.01) + units / 1000 + 1 / (epoch + 1)}")
if units > 54:
    raise ValueError(f"{units} units are too many")
"""


def card(page: Page) -> Locator:
    """The study in the notebook."""
    return page.locator(".jp-Notebook .kfx-Card.kfx-StudyView")


def violations(page: Page, context: str) -> list[str]:
    """What axe-core has to say of a part of the page."""
    report = Axe().run(page, context=context).response
    return [
        f"{context}: {rule['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in report["violations"]
        for node in rule["nodes"]
    ]


def test_a_study_from_the_cell_to_a_job_with_its_best(open_lab: Open, lab: Lab, cluster: Settings) -> None:
    assert cluster
    notebook(lab, "bowl.ipynb", "%load_ext jupyterlab_kf", TUNE)
    page = open_lab("/lab/tree/bowl.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    # Not waited for: the command ends with the study.
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); return null; }")
    # Live while it runs, and to its end.
    live = card(page)
    expect(live.locator(".kfx-Badge").first).to_contain_text("Running", timeout=LONG)
    expect(live.get_by_role("progressbar")).to_be_visible()
    expect(live).to_contain_text("Best so far: loss", timeout=LONG)
    expect(live.locator(".kfx-Badge").first).to_contain_text("Succeeded", timeout=LONG)
    expect(live).to_contain_text("12 of 12 trials")
    expect(live.get_by_role("slider", name=re.compile("loss of each trial"))).to_be_visible()
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "docmanager:save")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    outputs = json.loads((lab.root / "bowl.ipynb").read_text())["cells"][1]["outputs"]
    data = next(one["data"] for one in outputs if "application/vnd.jupyterlab-kf.study+json" in one.get("data", {}))
    assert set(data) == {"application/vnd.jupyterlab-kf.study+json", "text/html", "text/plain"}
    assert len(json.dumps(data)) < 40_000

    # Without a kernel, after a reload.
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); return null; }")
    page.goto(page.url.split("?")[0] + f"?token={lab.token}")
    settle(page)
    expect(card(page)).to_contain_text("12 of 12 trials", timeout=PATIENCE)
    page.wait_for_function(KERNEL_IDLE)  # until Lab has come to rest with the notebook in front

    # Its tab, from the side panel.
    execute(page, "kf:open-panel")
    row = page.locator(".kfx-Study", has_text="bowl")
    row.get_by_role("button", name="bowl").click()
    row.get_by_role("button", name="Open", exact=True).click()
    tab = page.locator(".kfx-StudyTab")
    expect(tab.get_by_role("heading", level=1)).to_have_text("bowl")

    # Ranges, by pointer and by keys.
    tab.get_by_role("tab", name="Parallel coordinates").click()
    rows = tab.locator(".kfx-Trials-row:not(.kfx-Trials-head)")
    expect(rows).to_have_count(12)
    track = tab.locator(".kfx-Axis-track").nth(1).bounding_box()
    assert track is not None
    page.mouse.move(track["x"] + 12, track["y"] + track["height"] * 0.95)
    page.mouse.down()
    page.mouse.move(track["x"] + 12, track["y"] + track["height"] * 0.51, steps=5)
    page.mouse.up()
    expect(tab.get_by_role("button", name="Clear the ranges")).to_be_visible()
    study = kf.study("bowl")
    units = [row["units"] for row in study.rows()]
    low, high = (8 + (64 - 8) * part for part in (0.05, 0.49))
    expect(rows).to_have_count(sum(low <= one <= high for one in units))
    upper = tab.get_by_role("slider", name="units to", exact=True)
    upper.focus()
    page.keyboard.press("End")
    expect(rows).to_have_count(sum(low <= one for one in units))
    tab.get_by_role("button", name="Clear the ranges").click()
    expect(rows).to_have_count(12)

    # What went wrong with one, by keys.
    tab.get_by_role("tab", name="Trials").click()
    best = study.best_trial
    assert best is not None
    tab.get_by_role("button", name="loss", exact=True).click()
    expect(rows.first).to_have_attribute("data-number", str(best.number))
    failed = [one for one in study.trials if one.state == "Failed"]
    if failed:
        tab.locator(f".kfx-Trials-row[data-number='{failed[0].number}']").click()
        detail = tab.get_by_role("region", name=f"Trial {failed[0].number}")
        expect(detail.get_by_role("note")).to_contain_text("exit code 1")
        expect(detail.locator(".kfx-Pre-error")).to_contain_text("units are too many")
        detail.get_by_role("button", name="Log", exact=True).click()
        expect(detail.get_by_role("log")).to_contain_text("units are too many")

    # What was found, into the notebook and into a job.
    page.locator(".lm-TabBar-tab", has_text="bowl.ipynb").click()
    execute(page, "kf:open-study", name="bowl", namespace=study.namespace)
    tab.get_by_role("button", name="Best into a cell").click()
    found = f"units = {study.rows()[best.number]['units']}"
    expect(page.locator(".jp-Notebook .jp-mod-active .cm-content")).to_contain_text(found)
    execute(page, "kf:open-study", name="bowl", namespace=study.namespace)
    tab.get_by_role("button", name="Train with the best").click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("heading", level=1)).to_have_text(f"bowl-t{best.number}", timeout=PATIENCE)
    expect(job.locator(".kfx-Badge").first).to_contain_text("Succeeded", timeout=LONG)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_a_study_can_be_read_by_everybody(open_lab: Open, lab: Lab, cluster: Settings, theme: str) -> None:
    assert cluster
    if not any(one.name == "plain" for one in studies_of()):
        kf.tune(TUNE.partition("\n")[2], trials=12, algorithm="random", max_failed=9, name="plain").wait()
    notebook(lab, "plain.ipynb", "%load_ext jupyterlab_kf", 'import jupyterlab_kf as kf\nkf.study("plain")')
    page = open_lab("/lab/tree/plain.ipynb")
    execute(page, "apputils:change-theme", theme=theme)
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    expect(card(page)).to_contain_text("12 of 12 trials", timeout=PATIENCE)
    found = violations(page, ".jp-Notebook .kfx-StudyView")
    execute(page, "kf:open-study", name="plain", namespace="default")
    tab = page.locator(".kfx-StudyTab")
    for name in ("Overview", "Parallel coordinates", "Parameters", "Timeline", "Trials"):
        tab.get_by_role("tab", name=name).click()
        expect(tab.locator(".kfx-Plot, .kfx-Parallel, .kfx-Gantt, .kfx-Trials").first).to_be_visible()
        found += [f"{name}: {one}" for one in violations(page, ".kfx-StudyTab")]
    tab.get_by_role("button", name=re.compile("Compare the best")).click()
    expect(tab.get_by_role("region", name=re.compile("Comparison of")).locator(".kfx-Plot")).to_be_visible()
    found += [f"Comparison: {one}" for one in violations(page, ".kfx-StudyTab")]
    tab.locator(".kfx-Trials-row[data-number='3']").click()
    expect(tab.locator(".kfx-Trial .kfx-Pre")).to_be_visible()
    found += [f"Trial: {one}" for one in violations(page, ".kfx-StudyTab")]
    execute(page, "apputils:change-theme", theme="JupyterLab Light")
    assert not found, "\n".join(found)


ENDLESS = """x = uniform(0, 1)
import time
for step in range(10_000):
    print(f"loss={x + 1 / (step + 1)}", flush=True)
    time.sleep(0.2 if step < 3 else 5)
"""


CUT = """() => {
  const edge = selector => document.querySelector('.kfx-StudyTab ' + selector).getBoundingClientRect().right;
  const marks = [...document.querySelectorAll('.kfx-StudyTab .kfx-Gantt-mark')];
  const end = edge('.kfx-Gantt-axis') + 1;
  const cut = marks.filter(one => one.getBoundingClientRect().right > end).map(one => one.textContent);
  const row = edge('.kfx-Gantt') - edge('.kfx-Gantt-row.kfx-active');
  return row > 1.5 ? [...cut, `a row ends ${row} before`] : cut;
}"""


def test_trials_are_timed_compared_and_stopped_and_the_study_resumed_and_cloned(
    open_lab: Open, lab: Lab, cluster: Settings
) -> None:
    assert cluster
    study = kf.tune(ENDLESS, trials=4, parallel=2, algorithm="random", max_failed=1, name="lanes")
    notebook(lab, "lanes.ipynb", "%load_ext jupyterlab_kf")
    page = open_lab("/lab/tree/lanes.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "kf:open-study", name="lanes", namespace=study.namespace)
    tab = page.locator(".kfx-StudyTab")

    # When each waited and ran, by keys.
    tab.get_by_role("tab", name="Timeline").click()
    bars = tab.locator(".kfx-Gantt-row")
    running = tab.locator(".kfx-Gantt-row[data-state='Running']")
    expect(running).to_have_count(2, timeout=LONG)
    tab.get_by_role("listbox").focus()
    page.keyboard.press("Home")
    expect(bars.first).to_have_attribute("aria-selected", "true")
    expect(bars.first).to_have_attribute("aria-label", re.compile(r"^Trial 0: Running, since .*, ran "), timeout=LONG)
    assert page.evaluate(CUT) == [], "the marks of the axis are whole, and a row ends where the table does"
    # Its last lines are those of now, and not of when it was chosen.
    lines = tab.get_by_role("region", name="Trial 0").locator(".kfx-Pre")
    expect(lines).to_contain_text("loss=", timeout=LONG)
    expect(lines.locator("span")).not_to_have_count(lines.locator("span").count(), timeout=LONG)
    tab.get_by_role("button", name="The timeline as a table").click()
    expect(tab.get_by_role("row", name=re.compile(r"^0 Running "))).to_be_visible()
    tab.get_by_role("button", name="The timeline as a table").click()

    # What happened to one, and its end, by its row's menu.
    detail = tab.get_by_role("region", name="Trial 0")
    detail.get_by_role("button", name="Events").click()
    expect(detail.get_by_role("cell", name="JobCreated")).to_be_visible()
    bars.first.click(button="right")
    page.get_by_role("menuitem", name="Stop Trial …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Stop trial 0 of lanes?")
    dialog.get_by_role("button", name="Stop").click()
    expect(bars.first).to_have_attribute("data-state", "Killed", timeout=LONG)
    expect(detail.get_by_role("note")).to_contain_text("Somebody stopped it.")
    expect(running).to_have_count(2, timeout=LONG)
    expect(tab.locator(".kfx-Badge").first).to_contain_text("Running")

    # Two beside one another, by keys.
    tab.get_by_role("tab", name="Trials").click()
    tab.get_by_label("Rows of the trials").focus()
    for key in ("Home", " ", "ArrowDown", " "):
        page.keyboard.press(key)
    compared = tab.get_by_role("region", name="Comparison of 2 trials")
    expect(compared.get_by_role("columnheader")).to_have_count(2)
    expect(compared.get_by_role("row", name=re.compile("^x "))).to_be_visible()
    expect(compared.get_by_role("slider", name=re.compile("loss within trials"))).to_be_visible(timeout=LONG)

    # Stopped, and going on with what is left of its budget.
    tab.get_by_title("End it and the trials that run; what finished stays").click()
    tab.get_by_role("button", name="Resume").click(timeout=LONG)
    expect(tab.locator(".kfx-Badge").first).to_contain_text("Running", timeout=LONG)
    tab.get_by_role("tab", name="Timeline").click()
    expect(running).to_have_count(1, timeout=LONG)
    expect(bars).to_have_count(4)

    # Another like it, in its form.
    page.locator(".lm-TabBar-tab", has_text="lanes.ipynb").click()
    execute(page, "kf:clone-study", name="lanes", namespace=study.namespace)
    expect(page.locator(".jp-Notebook .jp-CodeCell .cm-content").last).to_contain_text("%%kf_study loss", timeout=LONG)
    expect(page.locator(".jp-Notebook button:has-text('Start')")).to_be_visible(timeout=LONG)
    study.delete()


def many(count: int) -> dict[str, object]:
    """A study of so many trials as a notebook keeps it, eight at a time."""
    states = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")
    trials = [
        {"name": f"many-{n}", "number": n, "state": states[n % 5], "values": ["0.5"], "value": n / count, "metrics": [],
         "curve": [], "started": 1e9 + n * 5, "began": 1e9 + n * 5 + 2, "finished": 1e9 + n * 5 + 40, "message": ""}
        for n in range(count)
    ]  # fmt: skip
    lr = {"name": "lr", "type": "double", "low": 0.0, "high": 1.0, "log": False, "values": []}
    head = {
        "uid": "", "namespace": "default", "name": "many", "state": "Succeeded", "message": "", "objective": "loss",
        "direction": "minimize", "goal": None, "algorithm": "tpe", "parameters": [lr], "metrics": [], "budget": count,
        "parallel": 8, "best": "many-0", "done": count, "running": 0, "failed": 0, "created": 1e9,
        "finished": 1e9 + count * 5 + 40, "eta": None, "seen": 2e9, "resumable": False, "importance": [],
    }  # fmt: skip
    return {"version": 1, "total": count, "head": head, "trials": trials}


def test_the_timeline_of_ten_thousand_trials_has_the_rows_in_sight(open_lab: Open, lab: Lab) -> None:
    notebook(lab, "many.ipynb", "1")
    place = lab.root / "many.ipynb"
    document = json.loads(place.read_text())
    shown = {"application/vnd.jupyterlab-kf.study+json": many(10_000), "text/plain": "many"}
    document["cells"][0]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": shown}]
    place.write_text(json.dumps(document))
    page = open_lab("/lab/tree/many.ipynb")
    card(page).get_by_role("tab", name="Timeline").click()
    bars = card(page).get_by_role("option")
    expect(bars.first).to_have_attribute("aria-setsize", "10000")
    assert bars.count() < 60
    card(page).get_by_role("listbox").focus()
    page.keyboard.press("End")
    last = card(page).locator(".kfx-Gantt-row[data-number='9999']")
    expect(last).to_have_attribute("aria-selected", "true")
    assert bars.count() < 60
    # The axis has the time of what is in sight: a bar of all of it would be a hair's breadth.
    expect(last.locator(".kfx-Gantt-ran")).to_be_visible()
    box = last.locator(".kfx-Gantt-ran").bounding_box()
    assert box is not None
    assert box["width"] > 40
    card(page).get_by_role("button", name="The timeline as a table").click()
    expect(card(page)).to_contain_text("The last 1000 of 10000 trials")


FRAMES = """() => {
  const seen = (window.kfFrames = { gaps: [], on: true });
  let last = performance.now();
  requestAnimationFrame(function tick(now) {
    seen.gaps.push(now - last);
    last = now;
    if (seen.on) requestAnimationFrame(tick);
  });
  return null;
}"""
# The median, the 99th of a hundred and the longest time between two pictures, in milliseconds.
GAPS = """() => {
  window.kfFrames.on = false;
  const gaps = window.kfFrames.gaps.slice(1).sort((a, b) => a - b);
  return [0.5, 0.99, 1].map(part => Math.round(gaps[Math.min(gaps.length - 1, Math.floor(part * gaps.length))]));
}"""
ROLL = """async () => {
  const list = document.querySelector('.kfx-StudyTab .kfx-Trials-rows, .kfx-StudyTab .kfx-Gantt-rows');
  for (let n = 0; n <= 120; n++) {
    list.scrollTop = (list.scrollHeight * n) / 120;
    await new Promise(requestAnimationFrame);
  }
  return null;
}"""
HEAP = "() => performance.memory.usedJSHeapSize / 1e6"


@contextlib.contextmanager
def fed(study: LiveStudy) -> Iterator[None]:
    """Twenty changes a second, as long as it lasts."""
    over = threading.Event()

    def feed() -> None:
        for _ in study.lively(1_000_000):
            if over.wait(0.05):
                return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_ten_thousand_live_trials_leave_the_page_fluid_by_pointer_and_keyboard(
    browser: Browser,
    fresh_server: Served,  # noqa: F811  the fixture
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = LiveStudy(fresh_server, "wide", trials=10_000)
    environment = {"KUBECONFIG": str(fresh_server.kubeconfig), "KF_CONTEXT": "", "KF_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "notebooks").mkdir()
    found: dict[str, list[int]] = {}
    with labs.running(tmp_path / "notebooks", tmp_path / "home", environment=environment) as lab:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(LONG)
        page.goto(f"{lab.url}/lab?token={lab.token}&reset")
        settle(page)
        execute(page, "kf:open-study", name="wide", namespace="default")
        tab = page.locator(".kfx-StudyTab")
        tab.get_by_role("tab", name="Trials").click()
        expect(tab.get_by_role("grid")).to_have_attribute("aria-rowcount", "10001", timeout=LONG)

        def timed(name: str, act: Callable[[], object]) -> None:
            page.evaluate(FRAMES)
            act()
            found[name] = page.evaluate(GAPS)

        def rest() -> None:
            page.wait_for_timeout(3000)

        def brush() -> None:
            box = tab.locator(".kfx-Axis-track").nth(2).bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + 12, box["y"] + box["height"] * 0.9)
            page.mouse.down()
            page.mouse.move(box["x"] + 12, box["y"] + box["height"] * 0.3, steps=40)
            page.mouse.up()

        with fed(study):
            timed("trials: scrolled", lambda: page.evaluate(ROLL))
            tab.get_by_role("button", name="loss", exact=True).click()
            timed("trials: by loss", rest)
            for title in ("Overview", "Parameters", "Timeline", "Parallel coordinates"):
                tab.get_by_role("tab", name=title).click()
                expect(tab.locator(".kfx-Plot-drawn, .kfx-Parallel, .kfx-Gantt-row").first).to_be_visible()
                page.wait_for_timeout(1000)
                timed(f"{title.lower()}: at rest", rest)
                if title == "Timeline":
                    timed("timeline: scrolled", lambda: page.evaluate(ROLL))
            timed("parallel coordinates: brushed", brush)
            expect(tab.get_by_role("button", name="Clear the ranges")).to_be_visible()
            timed("parallel coordinates: within a range", rest)
            page.screenshot(path=Path(os.environ.get("KF_PICTURES", tmp_path)) / "study-wide.png")
            heap = page.evaluate(HEAP)
        tab.get_by_role("button", name="Clear the ranges").click()
        # What changes is there at once, and keys go on.
        tab.get_by_role("tab", name="Trials").click()
        tab.get_by_label("Rows of the trials").focus()
        page.keyboard.press("Home")
        newest = study.running[-1]
        row = tab.locator(f".kfx-Trials-row[data-number='{newest}']")
        expect(row).to_have_attribute("aria-selected", "true")
        study.report(newest, 7.125)
        expect(row).to_contain_text("7.125")
        page.close()
    with capsys.disabled():
        print(f"\nms between pictures (p50, p99, most), 20 changes a second: {found}; heap {heap:.0f} MB")
    assert not {name: gaps for name, gaps in found.items() if gaps[0] > 250}, found
    assert heap < 300
