"""The panels in Notebook 7, which has one document a page, and no status bar, launcher or layout to restore."""

from __future__ import annotations

from pathlib import Path

import labs
import pytest
from labs import PATIENCE, settle
from playwright.sync_api import Browser, expect
from test_panels import BUILT, SLOW

import jupyterlab_kf
from jupyterlab_kf.settings import Settings

pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")


def test_a_notebook_becomes_a_job_and_a_cell_is_live(browser: Browser, cluster: Settings, tmp_path: Path) -> None:
    assert cluster
    (tmp_path / "notebooks").mkdir()
    errors: list[str] = []
    with labs.running(tmp_path / "notebooks", tmp_path / "home", app="notebook") as own:
        train = f"import jupyterlab_kf\njob = jupyterlab_kf.train({SLOW!r}, workers=1, name='classic', replace=True)"
        labs.notebook(own, "digits.ipynb", "%load_ext jupyterlab_kf", train, "job")
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        # Notebook has a page error of its own, about settings, also without any extension.
        page.on("pageerror", lambda error: errors.append(f"{error} {error.stack}"))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(f"{own.url}/notebooks/digits.ipynb?token={own.token}")
        settle(page)
        page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")
        labs.execute(page, "notebook:run-all-cells")
        card = page.locator(".kfx-Card")
        expect(card.locator(".kfx-Badge")).to_contain_text("Running", timeout=PATIENCE)
        expect(card.get_by_role("slider", name="loss").locator("canvas")).to_be_visible(timeout=PATIENCE)
        card.get_by_role("button", name="Stop").click()
        expect(card.locator(".kfx-Badge")).to_contain_text("Suspended", timeout=PATIENCE)
        page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='kf-run'] jp-button").click()
        form = page.locator(".kfx-Launch")
        expect(form.get_by_role("heading", level=1)).to_have_text("Run digits.ipynb as a job")
        expect(form.locator(".kfx-Fit").first).to_be_visible()
        page.screenshot(path=tmp_path / "form.png")
        form.get_by_role("button", name="Launch", exact=True).click()
        job = page.locator(".kfx-Job")
        expect(job.get_by_role("heading", level=1)).to_contain_text("digits-")
        expect(job.get_by_role("group", name="worker").get_by_role("button")).to_be_visible(timeout=PATIENCE)
        page.screenshot(path=tmp_path / "job.png")
        page.close()
    for made in jupyterlab_kf.jobs():
        made.delete()
    ours = [error for error in errors if "jupyterlab-kf" in error]
    assert not ours, ours
