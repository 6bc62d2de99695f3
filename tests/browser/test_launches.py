"""The ways from a notebook or a file to a running job, as a person walks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from labs import PATIENCE, Lab, notebook
from playwright.sync_api import Locator, Page, expect

import jupyterlab_kf

BUILT = Path(jupyterlab_kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = [
    pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)"),
    pytest.mark.usefixtures("cluster"),
]

Open = Callable[..., Page]
RUN = ".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run'] jp-button"
MENU = ".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run-menu'] jp-button"


def into_cell(page: Page, place: int) -> None:
    """Make a cell of the open notebook the active one, as a click does."""
    page.locator(".jp-Notebook .cm-content").nth(place).click()


def item(page: Page, name: str) -> Locator:
    """An entry of the menu that is open, be it one that is ticked or not."""
    return page.locator(".lm-Menu .lm-Menu-item:not(.lm-mod-hidden)", has_text=name)


def test_a_notebook_becomes_a_job_in_two_clicks(open_lab: Open, lab: Lab) -> None:
    epochs = "for epoch in range(epochs):\n    print(f'epoch={epoch} rank={os.environ[\"RANK\"]}')\nepochs"
    notebook(lab, "two-clicks.ipynb", "%matplotlib inline\nimport os", "epochs = 2", "print('old')", epochs)
    page = open_lab("/lab/tree/two-clicks.ipynb")
    into_cell(page, 2)
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("print('what is on the screen')")
    page.locator(RUN).click()
    page.get_by_role("button", name="Launch", exact=True).click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("heading", level=1)).to_contain_text("two-clicks-")
    job.get_by_role("tab", name="Log").click()
    for line in ("what is on the screen", "epoch=1 rank=1"):
        expect(job.get_by_role("log")).to_contain_text(line, timeout=PATIENCE)
    expect(job.locator(".kfx-Badge").first).to_contain_text("Succeeded", timeout=PATIENCE)
    expect(page.get_by_text("succeeded").last).to_be_visible()
    job.get_by_role("tab", name="Code").click()
    expect(job).to_contain_text("# %% cell 3")
    assert "what is on the screen" in (lab.root / "two-clicks.ipynb").read_text()


def test_a_failure_in_a_notebook_names_its_cell(open_lab: Open, lab: Lab) -> None:
    notebook(lab, "broken.ipynb", "rows = [1, 2, 3]", "def pick(n):\n    return rows[n]\n\n\npick(7)")
    page = open_lab("/lab/tree/broken.ipynb")
    page.locator(RUN).click()
    form = page.locator(".kfx-Launch")
    form.get_by_label("Workers").fill("1")
    form.get_by_role("button", name="Launch", exact=True).click()
    job = page.locator(".kfx-Job")
    expect(job.get_by_role("note")).to_contain_text("(broken.ipynb cell 2, line 2)", timeout=PATIENCE)
    expect(job).to_contain_text('File "broken.ipynb cell 2", line 5, in <module>')
    expect(job).to_contain_text("return rows[n]")


def test_what_the_button_runs_is_chosen_in_its_menu_and_kept(open_lab: Open, lab: Lab) -> None:
    notebook(lab, "menu.ipynb", "x = 1", "%time print('the second')", "!ls")
    page = open_lab("/lab/tree/menu.ipynb")
    # By the keyboard alone: the shortcut of the button, and what the form says of a cell that cannot run.
    into_cell(page, 0)
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+j")
    form = page.locator(".kfx-Launch")
    expect(form.get_by_role("alert")).to_contain_text("menu.ipynb cell 3, line 1: '!ls' is a shell line")
    page.locator(".lm-TabBar-tab", has_text="menu.ipynb").first.click()
    into_cell(page, 1)
    page.locator(MENU).click()
    item(page, "This Cell").click()
    form = page.locator(".kfx-Launch").last
    expect(form.get_by_role("heading", level=1)).to_have_text("Run cell 2 of menu.ipynb as a job")
    form.get_by_label("Workers").fill("1")
    page.keyboard.press("Enter")
    job = page.locator(".kfx-Job")
    job.get_by_role("tab", name="Log").click()
    expect(job.get_by_role("log")).to_contain_text("the second", timeout=PATIENCE)
    page = open_lab("/lab/tree/menu.ipynb")
    page.locator(MENU).click()
    expect(item(page, "This Cell")).to_have_class(re.compile("lm-mod-toggled"))
    item(page, "This Notebook").click()
    expect(page.locator(".kfx-Launch").get_by_role("heading", level=1)).to_have_text("Run menu.ipynb as a job")


def test_a_script_is_run_from_the_file_browser_with_its_modules(open_lab: Open, lab: Lab) -> None:
    (lab.root / "tools").mkdir(exist_ok=True)
    (lab.root / "tools" / "script.py").write_text("import tensorflow_free\nprint(tensorflow_free.WORD)\n")
    (lab.root / "tools" / "tensorflow_free.py").write_text("WORD = 'from beside'\n")
    (lab.root / "tools" / "notes.txt").write_text("no code")
    page = open_lab("/lab/tree/tools")
    page.locator(".jp-DirListing-item", has_text="notes.txt").click(button="right")
    expect(item(page, "Rename")).to_be_visible()
    expect(item(page, "Run as Job …")).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator(".jp-DirListing-item", has_text="script.py").click(button="right")
    item(page, "Run as Job …").click()
    form = page.locator(".kfx-Launch")
    expect(form.get_by_label("Code of tools/script.py")).to_contain_text("import tensorflow_free")
    form.get_by_label("Workers").fill("1")
    form.get_by_role("button", name="Launch", exact=True).click()
    job = page.locator(".kfx-Job")
    job.get_by_role("tab", name="Log").click()
    expect(job.get_by_role("log")).to_contain_text("from beside", timeout=PATIENCE)
    notebook(lab, "tools/by-menu.ipynb", "from chainer import training")
    page.get_by_role("button", name="Refresh the file browser").click()
    page.locator(".jp-DirListing-item", has_text="by-menu.ipynb").click(button="right")
    item(page, "Run as Job …").click()
    expect(page.locator(".kfx-Launch").get_by_role("radio", name="Chainer")).to_be_checked()


def test_replicas_are_counted_by_role_in_the_form(open_lab: Open) -> None:
    page = open_lab()
    page.evaluate("() => window.jupyterapp.commands.execute('kf:launch').then(() => null)")
    form = page.locator(".kfx-Launch")
    form.locator(".kfx-Choice", has_text="TensorFlow").click()
    form.get_by_text("Replicas by role, instead of workers").click()
    for role, count in {"chief": 1, "ps": 2, "worker": 3}.items():
        form.get_by_label(role, exact=True).fill(str(count))
    form.get_by_text("What would be created").click()
    expect(form).to_contain_text("TensorFlow: 1 chief, 2 ps, 3 worker")
    form.locator(".kfx-Choice", has_text="Chainer").click()
    expect(form).to_contain_text("Chainer: 1 master, 1 worker")
    expect(form.get_by_label("master", exact=True)).to_have_value("")
