"""The hub in a real browser: log in, choose hardware by keyboard, watch, and land in JupyterLab with our panel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import labs
import provision
import pytest
from hubs import Hub, running
from needs import tool
from playwright.sync_api import Page, expect, sync_playwright

expect.set_options(timeout=labs.PATIENCE)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(tool(provision.chromium)), args=labs.FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_from_login_to_jupyterlab(hub: Hub, page: Page, tmp_path: Path) -> None:
    page.goto(hub.url)
    page.fill("#username_input", "ann")
    page.fill("#password_input", hub.password)
    page.click("#login_submit")
    expect(page.get_by_role("radio", name="Small")).to_be_checked()
    page.screenshot(path=str(tmp_path / "form.png"), full_page=True)
    page.get_by_role("radio", name="Small").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Medium")).to_be_checked()
    page.keyboard.press("ArrowUp")
    page.get_by_text("Toggle advanced").click()
    page.fill("textarea[name=environment]", "GREETING=hello")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/spawn-pending/**")
    # What happens is told there, unless the server is ready already.
    expect(page.locator("#progress-message").or_(page.locator(".jp-LabShell")).first).to_be_visible()
    page.screenshot(path=str(tmp_path / "progress.png"))
    page.wait_for_url("**/user/ann/lab**", timeout=90_000)
    page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel", timeout=60_000)
    page.screenshot(path=str(tmp_path / "lab.png"))
    expect(page.get_by_role("tab", name="Kubeflow: training jobs on your cluster")).to_be_visible()
    assert "GREETING" in str(hub.pods("kf-ann")["jupyter-ann"]["spec"]["containers"][0]["env"])
