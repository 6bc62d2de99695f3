"""The panels as a person uses them: JupyterLab in a browser, over the running cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from labs import PATIENCE, Lab, execute, notebook, settle
from playwright.sync_api import Page, expect
from ranks import MEET

import jupyterlab_kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings

BUILT = Path(jupyterlab_kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

FAST = "import time\nfor epoch in range(4):\n    time.sleep(0.2)\n    print(f'epoch={epoch} loss={1 / (epoch + 1)}')\n"
SLOW = FAST.replace("range(4)", "range(4000)")
BROKEN = "print('loading')\nrows = [1, 2, 3]\nprint(rows[7])\n"
KERNEL_IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"

# Each theme with the colours of text and ground that it gives to the name of a job.
THEMES = {
    "JupyterLab Light": ["rgba(0, 0, 0, 0.87)", "rgb(255, 255, 255)"],
    "JupyterLab Dark": ["rgba(255, 255, 255, 0.87)", "rgb(33, 33, 33)"],
    "JupyterLab Dark High Contrast": ["rgb(255, 255, 255)", "rgb(17, 17, 17)"],
}
COLOURS = """() => {
  let node = document.querySelector('.kfx-Job h1');
  const { color } = getComputedStyle(node);
  while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)') node = node.parentElement;
  return [color, getComputedStyle(node).backgroundColor];
}"""

Open = Callable[..., Page]
Kubectl = Callable[..., Any]


def row(page: Page, name: str) -> Any:
    return page.locator(f".kfx-JobRow[data-name='{name}']")


def laid_out(page: Page, lab: Lab, *said: str) -> None:
    """Until Lab has kept its layout with all of this, which it does a moment after a change."""
    kept = ""
    for _ in range(PATIENCE // 100):
        kept = "".join(file.read_text() for file in (lab.home / "workspaces").glob("default-*"))
        if all(one in kept for one in said):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"the layout that is kept lacks some of {said}: {kept}")


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


def test_the_cluster_is_told_and_can_be_changed(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    page = open_lab()
    execute(page, "kf:open-panel")
    header = page.locator(".kfx-Header")
    expect(header.get_by_role("status")).to_contain_text("connected")
    header.get_by_role("button", name="change it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("combobox")).to_contain_text("embedded")
    dialog.get_by_role("button", name="Use", exact=True).click()
    expect(page.get_by_text("Showing the jobs of embedded.")).to_be_visible()
    expect(header.get_by_role("status")).to_contain_text("connected")
    # What cannot be used is said, and what was shown is shown still.
    execute(page, "kf:use-cluster", context="nowhere")
    expect(page.get_by_text("there is no context 'nowhere'").first).to_be_visible()
    expect(header.get_by_role("status")).to_contain_text("connected")


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
    expect(row(page, "why")).to_contain_text("error in the code", timeout=PATIENCE)
    expect(row(page, "why")).to_have_attribute("title", re.compile("IndexError: list index out of range"))
    row(page, "why").click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("note")).to_contain_text("IndexError: list index out of range", timeout=PATIENCE)
    expect(job).to_contain_text("Traceback of master-0")
    job.get_by_role("tab", name="Events").click()
    expect(job.get_by_role("table")).to_contain_text("Scheduled")


def test_replicas_say_how_they_are_and_lead_to_their_logs(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    code = (
        f"import os\n{MEET}\nprint('I am', os.environ['RANK'])\nmeet()\nraise SystemExit(3 * int(os.environ['RANK']))\n"
    )
    jupyterlab_kf.train(code, workers=2, name="tiles", retries=0, replace=True)
    page = open_lab()
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="tiles")
    job = page.locator(".kfx-Job")
    worker = job.get_by_role("group", name="worker").get_by_role("button")
    expect(worker).to_have_attribute("aria-label", re.compile("worker-0: Failed, .* · exit code 3"), timeout=PATIENCE)
    expect(worker).to_contain_text("exit code 3")
    job.get_by_role("group", name="master").get_by_role("button").focus()
    page.keyboard.press("ArrowDown")
    expect(worker).to_be_focused()
    page.keyboard.press("Enter")
    expect(job.get_by_label("Replica")).to_have_value("worker-0")
    expect(job.get_by_role("log")).to_have_text("I am 1")


def test_code_and_what_it_was_made_of_are_read(open_lab: Open, cluster: Settings, tmp_path: Path) -> None:
    assert cluster
    code = "lr = 0.5\nprint(f'loss={lr}')  # the loss\n"
    jupyterlab_kf.train(code, workers=1, name="recorded", params={"lr": 0.25}, replace=True)
    page = open_lab()
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="recorded", tab="code")
    job = page.locator(".kfx-Job")
    editor = job.get_by_role("textbox", name="Code of recorded")
    expect(editor).to_contain_text("print(f'loss={lr}')")
    expect(editor.locator(".cm-line span").first).to_be_visible()  # it is highlighted
    editor.click()
    page.keyboard.type("nothing")
    expect(editor).not_to_contain_text("nothing")
    record = job.get_by_role("table", name="What it was made of")
    expect(record.get_by_role("row", name="Parameters")).to_contain_text("lr0.25")
    expect(record.get_by_role("row", name="Hash of the code")).to_contain_text(re.compile("[0-9a-f]{12}"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    job.get_by_role("button", name="Copy What it was made of").click()
    assert json.loads(page.evaluate("() => navigator.clipboard.readText()"))["params"] == {"lr": 0.25}
    assert not violations(page, ".kfx-Job")
    page.screenshot(path=tmp_path / "code.png")


def test_plots_are_read_with_keys_with_the_pointer_and_as_tables(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    code = "for step in range(100):\n    print(f'step={step} loss={100 - step} accuracy={step / 100}', flush=True)\n"
    code += f"{MEET}\nmeet()\n"
    jupyterlab_kf.train(code, workers=2, name="plotted", retries=0, replace=True).wait()
    page = open_lab()
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="plotted", tab="metrics")
    job = page.locator(".kfx-Job")
    plot = job.get_by_role("slider", name="loss")
    expect(plot.locator("canvas")).to_be_visible()
    expect(plot).to_have_attribute("aria-valuetext", "99: master-0 1, worker-0 1")
    plot.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(plot).to_have_attribute("aria-valuetext", "1: master-0 99, worker-0 99")
    expect(job.get_by_role("figure").first).to_contain_text("@ 1")
    # Both plots tell of the place that is looked at.
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    for figure in job.get_by_role("figure").all():
        expect(figure).to_contain_text(re.compile("@ (4|5)\\d"))
    again = job.get_by_role("button", name="Show all of loss again")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 120, steps=5)
    page.mouse.up()
    expect(again).to_be_visible()
    again.click()
    expect(again).to_have_count(0)
    plot.focus()
    page.keyboard.press("+")
    expect(again).to_be_visible()
    page.keyboard.press("0")
    expect(again).to_have_count(0)
    legend = job.get_by_role("group", name="Lines of the plots")
    legend.get_by_role("button", name="worker-0").click()
    expect(plot).not_to_have_attribute("aria-valuetext", re.compile("worker-0"))
    pixels = "node => node.querySelector('canvas').toDataURL().length + node.querySelector('canvas').toDataURL()"
    light = plot.evaluate(pixels)
    execute(page, "apputils:change-theme", theme="JupyterLab Dark")
    page.wait_for_function("() => document.body.dataset.jpThemeName === 'JupyterLab Dark'")
    expect(plot.locator("canvas")).to_be_visible()
    assert plot.evaluate(pixels) != light, "drawn again in the colours of the theme"
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    execute(page, "apputils:change-theme", theme="JupyterLab Light")
    job.get_by_role("button", name="loss as a table").click()
    table = job.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(101)
    expect(table.get_by_role("row").nth(1)).to_contain_text("100")
    assert not violations(page, ".kfx-Job")


def test_a_log_of_a_hundred_thousand_lines_is_read_and_searched(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    code = f"{MEET}\nfor n in range(50_000):\n    print(f'step {{n}} of many')\nmeet()\n"
    jupyterlab_kf.train(code, workers=2, name="chatty", retries=0, replace=True)
    page = open_lab()
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="chatty", tab="logs")
    job = page.locator(".kfx-Job")
    tools = job.locator(".kfx-Log-tools")
    expect(tools).to_contain_text("100000 lines", timeout=3 * PATIENCE)
    lines = job.get_by_role("log").locator(".kfx-Log-line")
    expect(lines.last).to_contain_text("step 49999 of many")
    assert lines.count() < 200, "only what is in sight exists"
    job.get_by_role("searchbox").fill("STEP 4999")
    expect(tools.get_by_role("status")).to_have_text("22")  # 4999 and 49990 to 49999, of two replicas
    job.get_by_role("button", name="Previous match").click()
    job.get_by_role("button", name="Previous match").click()
    expect(tools.get_by_role("status")).to_have_text("21/22")
    expect(job.get_by_label("follow")).not_to_be_checked()
    expect(job.locator(".kfx-Log-line.kfx-active mark")).to_have_text("step 4999")
    tools.get_by_label("Replica").select_option("worker-0")
    expect(tools).to_contain_text("50000 lines")
    expect(tools.get_by_role("status")).to_contain_text("11")
    job.get_by_label("only matches").check()
    expect(lines).to_have_count(11)
    with page.expect_download() as download:
        tools.get_by_role("link", name="Download").click()
    text = download.value.path().read_text()
    assert text.count("\n") == 50_000


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


def test_hardware_is_chosen_by_name(open_lab: Open, cluster: Settings) -> None:
    file = cluster.data_dir / "profiles.yaml"
    file.write_text(
        "profiles:\n"
        "  - {slug: small, display_name: Small, cpu: 100m, memory: 64Mi}\n"
        "  - {slug: far, display_name: Far away, cpu: 1, node_selector: {pool: far}}\n"
    )
    try:
        page = open_lab()
        execute(page, "kf:launch")
        form = page.locator(".kfx-Launch")
        choice = form.get_by_label("Profile of each worker")
        choice.select_option("far")
        expect(form).to_contain_text("No machine of this cluster has what it needs.")
        choice.select_option("small")
        expect(form).to_contain_text("Starts at once")
        form.get_by_text("What would be created").click()
        expect(form).to_contain_text("Hardware profile: Small (small)")
        expect(form).to_contain_text("cpu: 100m")
    finally:
        file.unlink()


def test_an_edit_that_comes_too_late_is_not_lost(open_lab: Open, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=manifest("edited"))
    page = open_lab()
    execute(page, "kf:open-panel")
    row(page, "edited").click()
    job = page.locator(".kfx-Job")
    job.get_by_role("tab", name="YAML").click()
    text = job.get_by_role("textbox", name="Manifest of edited")
    expect(text).to_contain_text("replicas: 3")
    expect(text.locator(".cm-line span").first).to_be_visible()  # it is highlighted
    text.locator(".cm-line", has_text="replicas: 3").click()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("2")
    kubectl("annotate", "pytorchjob", "edited", "colour=red")
    job.get_by_role("button", name="Apply").click()
    expect(job.get_by_role("alert")).to_contain_text("edited has changed since you read it")
    expect(job.get_by_role("textbox", name="Your edit of edited")).to_contain_text("replicas: 2")
    expect(job.get_by_role("textbox", name="edited on the cluster now")).to_contain_text("colour: red")
    job.get_by_role("button", name="Use theirs").click()
    expect(text).to_contain_text("replicas: 3")
    job.get_by_role("button", name="My edit again").click()
    expect(text).to_contain_text(re.compile("colour: red(.|\n)*replicas: 2"))
    kubectl("annotate", "pytorchjob", "edited", "colour=blue", "--overwrite")
    job.get_by_role("button", name="Apply").click()
    job.get_by_role("button", name="Keep mine on top of it").click()
    expect(text).to_contain_text(re.compile("colour: blue(.|\n)*replicas: 2"))
    job.get_by_role("button", name="Apply").click()
    expect(job.get_by_role("status")).to_contain_text(["Applied."])
    found = json.loads(kubectl("get", "pytorchjob", "edited", "-o", "json").stdout)
    assert found["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert found["metadata"]["annotations"]["colour"] == "blue"
    kubectl("delete", "pytorchjob", "edited")


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
    expect(card.get_by_role("slider", name="loss").locator("canvas")).to_be_visible()
    before = card.locator(".kfx-Pre").last.inner_text()
    page.wait_for_function("text => document.querySelector('.kfx-Card .kfx-Pre').innerText !== text", arg=before)
    page.goto(page.url.split("?")[0] + f"?token={lab.token}")
    settle(page)
    expect(card.locator(".kfx-Badge")).to_contain_text("Running", timeout=PATIENCE)
    jupyterlab_kf.delete("cellular")
    expect(card).to_contain_text("not on the cluster any more", timeout=PATIENCE)


def test_a_list_in_a_cell_is_live_and_kept(open_lab: Open, lab: Lab, cluster: Settings, kubectl: Kubectl) -> None:
    assert cluster
    kubectl("create", "-f", "-", stdin=manifest("listed"))
    notebook(lab, "list.ipynb", "%load_ext jupyterlab_kf\n%kf_jobs -n default")
    page = open_lab("/lab/tree/list.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    table = page.locator(".kfx-Record")
    expect(table.get_by_role("row", name="listed")).to_contain_text("Suspended", timeout=PATIENCE)
    kubectl("create", "-f", "-", stdin=manifest("came-later"))
    expect(table.get_by_role("row", name="came-later")).to_contain_text("3 asked for")
    expect(table).to_contain_text("embedded · default · live")
    table.get_by_role("row", name="came-later").click(button="right")
    expect(page.get_by_role("menuitem", name="Resume Job")).to_be_visible()
    page.keyboard.press("Escape")
    execute(page, "docmanager:save")
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); return null; }")
    page.goto(page.url.split("?")[0] + f"?token={lab.token}")
    settle(page)
    expect(table.get_by_role("row", name="came-later")).to_be_visible()
    assert violations(page, ".kfx-Record") == []
    table.get_by_role("button", name="came-later").click()
    expect(page.locator(".kfx-Job").get_by_role("heading", level=1)).to_have_text("came-later")
    # In the file: what a page without the extension shows, beside ours.
    (cell,) = json.loads((lab.root / "list.ipynb").read_text())["cells"]
    shown = cell["outputs"][0]["data"]
    assert set(shown) == {"application/vnd.jupyterlab-kf.jobs+json", "text/html", "text/plain"}
    assert "listed" in "".join(shown["text/plain"])
    kubectl("delete", "pytorchjob", "listed", "came-later")


def test_the_layout_is_found_again_with_the_page_that_was_read_and_the_filter_that_was_set(
    open_lab: Open, lab: Lab, kubectl: Kubectl
) -> None:
    kubectl("create", "namespace", "elsewhere")
    kubectl("create", "-f", "-", stdin=manifest("kept-open"))
    kubectl("create", "-f", "-", "--namespace", "elsewhere", stdin=manifest("far-off").replace("default", "elsewhere"))
    page = open_lab()
    execute(page, "kf:open-panel")
    panel = page.locator("#kf-panel")
    panel.get_by_label("Namespace", exact=True).select_option("elsewhere")
    expect(row(page, "kept-open")).to_have_count(0)
    panel.get_by_label("Namespace", exact=True).select_option("default")
    expect(row(page, "far-off")).to_have_count(0)
    panel.get_by_label("Sort by").select_option("name")
    panel.get_by_role("searchbox", name="Filter jobs").fill("open")
    execute(page, "kf:open-job", kind="PyTorchJob", namespace="default", name="kept-open")
    job = page.locator(".kfx-Job")
    job.get_by_role("tab", name="YAML").click()
    expect(page.get_by_role("textbox", name="Manifest of kept-open")).to_contain_text("kind: PyTorchJob")
    execute(page, "kf:open-panel")
    expect(panel.get_by_role("grid")).to_be_focused()
    left = ('"text":"open"', '"namespace":"default","sort":"name"', '"tab":"yaml"', '"current":"kf-panel"')
    laid_out(page, lab, *left, '"current":"jupyterlab-kf:kf-job-pytorchjob-default-kept-open"')
    page.goto(page.url.split("?")[0])
    settle(page)
    expect(job.get_by_role("heading", level=1)).to_have_text("kept-open")
    expect(job.get_by_role("tab", name="YAML")).to_have_attribute("aria-selected", "true")
    expect(panel.get_by_label("Namespace", exact=True)).to_have_value("default")
    expect(panel.get_by_label("Sort by")).to_have_value("name")
    expect(panel.get_by_role("searchbox", name="Filter jobs")).to_have_value("open")
    expect(page.locator(".kfx-JobRow")).to_have_count(1)
    current = "() => window.jupyterapp.shell.currentWidget.id"
    assert page.evaluate(current) == "kf-job-pytorchjob-default-kept-open"
    panel.get_by_role("button", name="Group by namespace").click()
    panel.get_by_label("Namespace", exact=True).select_option("")
    panel.get_by_role("searchbox", name="Filter jobs").fill("")
    expect(panel.locator(".kfx-Group", has_text="elsewhere")).to_contain_text("1 job")
    kubectl("delete", "namespace", "elsewhere")
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


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_is_in_the_way_of_a_screen_reader(
    open_lab: Open, cluster: Settings, theme: str, tmp_path: Path
) -> None:
    assert cluster
    jupyterlab_kf.train(BROKEN, workers=2, name="axe", retries=0, replace=True)
    page = open_lab()
    execute(page, "apputils:change-theme", theme=theme)
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    execute(page, "kf:open-panel")
    row(page, "axe").click()
    expect(page.locator(".kfx-Why")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate(COLOURS) == THEMES[theme], "it is seen in the colours of the theme"
    found = violations(page, "#kf-panel")
    job = page.locator(".kfx-Job")
    shown = {"Overview": ".kfx-Tile", "Log": ".kfx-Log-line", "Metrics": ".kfx-Plot, .kfx-Empty"}
    shown |= {"Events": ".kfx-Table", "Code": ".kfx-Editor", "YAML": ".kfx-Editor"}
    for tab, there in shown.items():
        job.get_by_role("tab", name=tab).click()
        expect(job.locator(there).first).to_be_visible(timeout=PATIENCE)
        found += [f"{tab}: {one}" for one in violations(page, ".kfx-Job")]
    execute(page, "settingeditor:open", query="Kubeflow")
    expect(page.locator(".jp-SettingsForm").get_by_label("Status bar")).to_be_visible()
    # JupyterLab draws the form: it gives a choice of any extension's settings no label, and we cannot give it one.
    found += violations(page, ".jp-SettingsForm", without=".jp-SettingsForm select")
    execute(page, "kf:launch")
    expect(page.locator(".kfx-Fit")).to_be_visible(timeout=PATIENCE)
    page.locator(".kfx-Launch").get_by_text("More", exact=True).click()
    found += violations(page, ".kfx-Launch")
    page.screenshot(path=tmp_path / "launch.png")
    execute(page, "apputils:change-theme", theme="JupyterLab Light")
    assert not found, "\n".join(found)


def violations(page: Page, context: str, without: str = "") -> list[str]:
    """What axe-core has to say of a part of the page; ``without`` are parts of JupyterLab's own in it."""
    report = Axe().run(page, context={"include": [context], **({"exclude": [without]} if without else {})}).response
    return [
        f"{context}: {rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in report["violations"]
        for node in rule["nodes"]
    ]
