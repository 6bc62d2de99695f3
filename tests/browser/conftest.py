"""A real JupyterLab in a real browser, on loopback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import labs
import provision
import pytest
from needs import tool
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from jupyterlab_kf.settings import Settings

# What is waited for comes when the machine has time for it; only a failure takes longer by this.
expect.set_options(timeout=labs.PATIENCE)

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.fixture(scope="session")
def lab(cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.Lab]:
    """JupyterLab over a copy of the notebooks, with settings of its own."""
    assert cluster
    root = tmp_path_factory.mktemp("lab") / "notebooks"
    shutil.copytree(NOTEBOOKS, root)
    with labs.running(root, tmp_path_factory.mktemp("jupyter-home")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = tool(provision.chromium)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(path), args=labs.FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_lab(browser: Browser, lab: labs.Lab) -> Iterator[Callable[..., Page]]:
    """Opens pages that are closed again, and that must not have met an error but those that are said to come."""
    pages: list[Page] = []
    errors: list[str] = []

    def opening(path: str = "/lab", *, expected: str = "$^") -> Page:
        def met(error: Error) -> None:
            if not re.search(expected, text := f"{error} {error.stack}"):
                errors.append(text)

        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(labs.PATIENCE)
        pages.append(page)
        page.on("pageerror", met)
        page.goto(f"{lab.url}{path}?token={lab.token}&reset")
        labs.settle(page)
        return page

    yield opening
    for page in pages:
        page.close()
    assert not errors, errors
