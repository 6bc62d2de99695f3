"""What a monitor found, in the endpoint's tab: a table that a person reads, and alarms in words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from labs import PATIENCE, execute
from playwright.sync_api import Page, expect

import jupyterlab_kf as kf
from jupyterlab_kf.settings import Settings

BUILT = Path(kf.__file__).parent / "labextension" / "static" / "style.js"
pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

Open = Callable[..., Page]
MODEL = "class Doubler:\n    def predict(self, X, names=None):\n        return 2 * X[:, 0]\n"
RANDOM = np.random.default_rng(5)
REFERENCE = RANDOM.normal(size=(300, 3))


@pytest.fixture
def watched(cluster: Settings) -> Iterator[kf.Endpoint]:
    assert cluster
    yield kf.serve(MODEL, name="watched", reference=REFERENCE)
    kf.endpoint("watched").delete()


def test_drift_is_seen_in_the_tab(open_lab: Open, watched: kf.Endpoint, tmp_path: Path) -> None:
    page = open_lab()
    execute(page, "kf:open-endpoint", namespace=watched.namespace, name="watched")
    tab = page.locator(".kfx-EndpointPage")
    expect(tab.get_by_role("heading", name="Monitoring")).to_be_visible(timeout=PATIENCE)
    expect(tab).to_contain_text("0 rows so far, 100 are needed to say anything", timeout=PATIENCE)
    # A class says nothing of what it takes: the sample is a row of what it is compared with.
    asked = tab.get_by_role("textbox", name="What to predict for, as JSON")
    assert json.loads(asked.input_value()) == [pytest.approx(REFERENCE[0], rel=1e-5)]
    asked.press("Shift+Enter")
    expect(tab.get_by_role("region", name="Answer")).to_be_visible(timeout=PATIENCE)
    watched.predict(RANDOM.normal(size=(300, 3)) + np.array([0, 2, 0]))
    compared = tab.get_by_role("region", name="What the monitor of watched compared")
    expect(compared.get_by_role("row", name="x1")).to_contain_text("alarm", timeout=PATIENCE)
    expect(compared.get_by_role("row", name="x0")).not_to_contain_text("alarm")
    expect(compared.get_by_role("img", name="x1: reference and now")).to_be_visible()
    expect(tab.get_by_role("list", name="Alarms")).to_contain_text(
        "FeatureDrift 1 of 3 features differ", timeout=PATIENCE
    )
    found = Axe().run(page, context=".kfx-EndpointPage").response["violations"]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found] == []
    page.screenshot(path=Path(os.environ.get("KF_PICTURES", tmp_path)) / "endpoint-monitored.png", full_page=True)


def test_more_outliers_than_usual_and_fewer_than_an_alarm_takes_are_not_shown_as_well(
    open_lab: Open, watched: kf.Endpoint, tmp_path: Path
) -> None:
    page = open_lab()
    execute(page, "kf:open-endpoint", namespace=watched.namespace, name="watched")
    tab = page.locator(".kfx-EndpointPage")
    rows = REFERENCE.copy()
    rows[:24] = 30.0  # eight of a hundred, where one is usual
    watched.predict(rows)
    compared = tab.get_by_role("region", name="What the monitor of watched compared")
    unlike = compared.get_by_role("row", name="outliers")
    expect(unlike).to_contain_text("changed by less than the 0.1 of an alarm", timeout=PATIENCE)
    expect(compared.get_by_role("row", name="x1")).to_contain_text("as usual")
    found: list[str] = []
    for theme in ("JupyterLab Dark", "JupyterLab Dark High Contrast", "JupyterLab Light"):
        execute(page, "apputils:change-theme", theme=theme)
        report = Axe().run(page, context=".kfx-EndpointPage").response["violations"]
        found += [f"{theme}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in report]
        picture = f"endpoint-outliers-{theme.split()[-1].lower()}.png"
        page.screenshot(path=Path(os.environ.get("KF_PICTURES", tmp_path)) / picture)
    assert found == []
