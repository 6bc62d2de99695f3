"""The hub's form and progress page in a real browser: by keyboard, without JavaScript, and where it does not start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import labs
import provision
import pytest
from axe_playwright_python.sync_playwright import Axe
from hubs import Hub, Person, running, wait
from needs import tool
from playwright.sync_api import Browser, Page, expect, sync_playwright

PROFILES = """
profiles:
  - {slug: small, display_name: Small, default: true, cpu: {request: 50m, limit: 1}, memory: 256Mi}
  - slug: choosy
    display_name: Choosy
    cpu: {min: 50m, max: 2, default: 200m}
    memory: {min: 1Gi, max: 1536Mi}
    gpus: [{resource: nvidia.com/gpu, min: 0, max: 2}, {resource: amd.com/gpu, min: 0, max: 1}]
  - {slug: wide, display_name: Wide, cpu: 1, memory: 256Mi}
  - {slug: broken, display_name: Broken, cpu: 50m, memory: 256Mi,
     volumes: [{name: sets, mount_path: /sets, claim: nowhere}]}
"""
SITE = f"""
import sys
c.KubeSpawner.cmd = [sys.executable, {str(Path(__file__).with_name("stand_in.py"))!r}]
c.KubeSpawner.args = []
"""

SIDEWAYS = "() => document.documentElement.scrollWidth - window.innerWidth"

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
expect.set_options(timeout=labs.PATIENCE)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("form"), profiles=PROFILES, site=SITE) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(tool(provision.chromium)), args=labs.FLAGS)
        yield found
        found.close()


def log_in(page: Page, hub: Hub, where: str) -> None:
    """To the form of a person's server: ``ann``, or ``ann/second``."""
    page.goto(f"{hub.url}/hub/login?next=/hub/spawn/{where}")
    page.fill("#username_input", where.partition("/")[0])
    page.fill("#password_input", hub.password)
    page.click("#login_submit")
    expect(page.get_by_role("radio", name="Small")).to_be_visible()


def violations(page: Page, context: str) -> list[str]:
    """What axe-core has to say of a part of the page."""
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in Axe().run(page, context=context).response["violations"]
        for node in rule["nodes"]
    ]


def test_the_form_works_by_keyboard_and_without_javascript(hub: Hub, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    log_in(page, hub, "ann")
    expect(page.get_by_text("JupyterHub requires JavaScript")).to_be_hidden()
    expect(page.get_by_label("CPUs")).to_be_hidden()
    page.get_by_role("radio", name="Small").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Choosy")).to_be_checked()
    page.get_by_label("CPUs").fill("0.3")
    page.get_by_label("Memory, GiB").fill("1.25")
    # Of hardware that is not here it is not said that it starts.
    card = page.locator(".kf-card", has=page.get_by_role("radio", name="Choosy"))
    for kind, name in (("nvidia.com/gpu", "GPUs"), ("amd.com/gpu", "AMD GPUs")):
        page.get_by_label("Kind of GPU").select_option(kind)
        said = f"Starts at once without {name}; there is none here."
        expect(card.locator(".kf-room").locator("visible=true")).to_have_text([said])
    expect(page.locator("textarea[name=environment]")).to_be_hidden()
    page.get_by_text("Toggle advanced").focus()
    page.keyboard.press("Enter")
    expect(page.locator("textarea[name=environment]")).to_be_visible()
    first, second, third = (page.get_by_role("group", name=f"Data volume {number}") for number in (1, 2, 3))
    expect(second).to_be_hidden()
    first.get_by_label("Volume").select_option("+new")
    first.get_by_label("Name").fill("mine")
    first.get_by_label("Folder").fill("/etc")
    expect(second).to_be_visible()
    expect(third).to_be_hidden()
    page.screenshot(path=str(tmp_path / "form.png"), full_page=True)
    first.get_by_label("Folder").press("Enter")
    expect(page.locator(".spawn-error-msg")).to_have_text(
        "Error: A volume at /etc would hide a part of the system. Take a folder such as /home/jovyan/data or /mnt/data."
    )
    # Nothing is lost.
    expect(page.get_by_label("CPUs")).to_have_value("0.3")
    expect(page.get_by_label("Memory, GiB")).to_have_value("1.25")
    expect(first.get_by_label("Name")).to_have_value("mine")
    first.get_by_label("Folder").fill("")
    page.get_by_label("Kind of GPU").select_option("nvidia.com/gpu")
    page.get_by_role("button", name="Start").click()
    person = Person(hub, "ann")
    person.wait_ready()
    page.goto(f"{hub.url}/hub/spawn-pending/ann")
    page.wait_for_url("**/user/ann/**", timeout=labs.PATIENCE)
    (pod,) = hub.pods("kf-ann").values()
    main = pod["spec"]["containers"][0]
    assert main["resources"]["limits"] == {"cpu": "300m", "memory": "1280Mi"}
    assert "/home/jovyan/mine" in [one["mountPath"] for one in main["volumeMounts"]]
    person.stop()


def test_who_waits_is_told_why_and_stops_that_server(hub: Hub, browser: Browser, tmp_path: Path) -> None:
    bob = Person(hub, "bob")
    bob.spawn(hardware="small")
    bob.wait_ready()
    hub.occupy(0.5)
    page = browser.new_context().new_page()
    log_in(page, hub, "bob/second")
    page.get_by_role("radio", name="Wide").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/spawn-pending/bob/second**", timeout=labs.PATIENCE)
    expect(page.get_by_role("heading", name="Starting second")).to_be_visible()
    message = page.get_by_role("status")
    expect(message).to_contain_text(
        "Your server asks for 1 CPU, and the only machine does not have that much free now."
    )
    expect(message).to_contain_text("It is first in line for Wide.")
    expect(message).to_contain_text("free now: stop this start and choose")
    page.get_by_text("What has happened").click()
    page.screenshot(path=str(tmp_path / "waits.png"))
    other = page.context.new_page()
    other.goto(f"{hub.url}/hub/spawn-pending/bob/second")
    expect(other.get_by_role("status")).to_contain_text("It is first in line for Wide.")
    page.get_by_role("button", name="Stop second").click()
    # JupyterHub takes it for a server that is ready, for a second.
    expect(other.get_by_role("status")).to_have_text("This start was stopped.")
    expect(other.get_by_role("button", name="Choose again")).to_be_focused()
    expect(page.get_by_role("radio", name="Wide")).to_be_checked(timeout=labs.PATIENCE)
    wait(lambda: set(hub.pods("kf-bob")) == {"jupyter-bob"}, "the one that waited is gone", 60, hub)
    assert bob.ready()
    hub.vacate()


def test_a_start_that_fails_ends_with_the_cause_and_a_way_on(hub: Hub, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(reduced_motion="reduce")
    log_in(page, hub, "bob/second")
    page.get_by_role("radio", name="Broken").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/spawn-pending/bob/second**", timeout=labs.PATIENCE)
    expect(page.get_by_role("heading", name="second did not start")).to_be_visible(timeout=labs.PATIENCE)
    expect(page.get_by_role("status")).to_contain_text("'nowhere', which does not exist. Choose other hardware")
    page.screenshot(path=str(tmp_path / "failed.png"))
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.dataset.bsTheme = theme; }", theme)
        assert violations(page, ".container:has(#progress-bar)") == [], theme
    again = page.get_by_role("button", name="Choose again")
    expect(again).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("radio", name="Broken")).to_be_checked()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_form_and_progress_in_both_themes_and_on_a_phone(
    hub: Hub, browser: Browser, tmp_path: Path, theme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=theme, viewport={"width": 360, "height": 740})
    page = context.new_page()
    log_in(page, hub, "ann/other")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    page.get_by_role("radio", name="Choosy").check()
    page.locator(".kf-advanced").evaluate("found => { found.open = true; }")  # a last choice may have opened it
    page.get_by_role("group", name="Data volume 1").get_by_label("Volume").select_option("+new")
    assert violations(page, "#spawn_form") == []
    assert page.evaluate(SIDEWAYS) == 0, "nobody has to scroll to the side"
    page.screenshot(path=str(tmp_path / "form.png"), full_page=True)
    hub.occupy(0.5)
    page.get_by_role("group", name="Data volume 1").get_by_label("Volume").select_option("")
    page.get_by_role("radio", name="Wide").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/spawn-pending/ann/other**", timeout=labs.PATIENCE)
    expect(page.get_by_role("status")).to_contain_text("in line for Wide.")
    page.get_by_text("What has happened").click()
    assert violations(page, ".container:has(#progress-bar)") == []
    assert page.evaluate(SIDEWAYS) == 0
    page.screenshot(path=str(tmp_path / "progress.png"), full_page=True)
    # Without JavaScript it says the same, and offers nothing that would not work.
    plain = browser.new_context(java_script_enabled=False, storage_state=context.storage_state()).new_page()
    plain.goto(f"{hub.url}/hub/spawn-pending/ann/other")
    expect(plain.get_by_role("status")).to_contain_text("in line for Wide.")
    expect(plain.get_by_role("link", name="Look again")).to_be_visible()
    expect(plain.get_by_role("button", name="Stop other")).to_be_hidden()
    page.get_by_role("button", name="Stop other").click()
    expect(page.get_by_role("radio", name="Wide")).to_be_checked(timeout=labs.PATIENCE)
    hub.vacate()
