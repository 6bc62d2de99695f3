"""The form of a study as a person fills it: by mouse and keyboard, from the fields to the best trial."""

from __future__ import annotations

import re
from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from labs import Lab, execute, notebook
from playwright.sync_api import Page, expect

from jupyterlab_kf.settings import Settings

Open = Callable[..., Page]
CELL = """%%kf_study loss --algorithm random --set random_state=1 --trials 4
lr = loguniform(1e-4, 1e-1)
units = 32
print(f"loss={abs(lr - 0.01) + units / 1000}")
"""
KERNEL_IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


def form(open_lab: Open, lab: Lab) -> Page:
    notebook(lab, "form.ipynb", "%load_ext jupyterlab_kf", CELL)
    page = open_lab("/lab/tree/form.ipynb")
    page.wait_for_function(KERNEL_IDLE)
    execute(page, "notebook:run-all-cells")
    expect(page.locator("button:has-text('Start')")).to_be_enabled()
    return page


def test_a_study_from_the_form_to_its_best_trial(open_lab: Open, lab: Lab, cluster: Settings) -> None:
    assert cluster
    page = form(open_lab, lab)
    cell = page.get_by_label("the study as a cell")
    expect(cell).to_have_value("%%kf_tune" + CELL.removeprefix("%%kf_study"))
    # By mouse: one more parameter, of a value that the code sets.
    page.get_by_label("Search also").select_option("units = 32")
    page.locator("button:has-text('Add parameter')").click()
    expect(cell).to_have_value(CELL.replace("%%kf_study", "%%kf_tune").replace("units = 32", "units = integer(8, 128)"))
    # By keyboard: what makes no sense is said, and cannot be started.
    high = page.get_by_label("to of units")
    high.focus()
    high.fill("4")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert")).to_contain_text("parameter units: integer(8, 4): the range is empty")
    expect(page.locator("button:has-text('Start')")).to_be_disabled()
    high.fill("64")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_label("Trials", exact=True).fill("3")
    page.keyboard.press("Tab")
    expect(cell).to_have_value(
        CELL.replace("%%kf_study", "%%kf_tune").replace("4 ", "3 ").replace("32", "integer(8, 64)")
    )
    page.locator("button:has-text('Start')").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 of 3 trials")).to_be_visible(timeout=120_000)
    page.locator("button:has-text('Best trial')").click()
    best = page.get_by_label("the best trial's code")
    expect(best).to_have_value(re.compile(r"lr = 0\.\d+\nunits = \d+\nprint"))


def test_the_form_can_be_read_by_everybody_and_stays_in_the_notebook(open_lab: Open, lab: Lab) -> None:
    page = form(open_lab, lab)
    found = Axe().run(page, context=".jp-OutputArea")
    assert found.violations_count == 0, found.generate_report()
    execute(page, "docmanager:save")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    saved = (lab.root / "form.ipynb").read_text()
    assert "%%kf_tune loss" in saved, "whoever opens it without a kernel still sees what was set up"
