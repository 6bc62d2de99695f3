"""Kernels in pods as a person meets them in JupyterLab: what they wait for, why they do not start, and who restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import labs
import pytest
from kubernetes import client, config
from labs import PATIENCE
from playwright.sync_api import Locator, Page, expect

from jupyterlab_kf import cli
from jupyterlab_kf.settings import Settings

Open = Callable[..., Page]
CREATE = (
    "name => { void window.jupyterapp.commands.execute('notebook:create-new', { kernelName: name }); return null; }"
)
SAY = """code => {
  const cell = window.jupyterapp.shell.currentWidget.content.activeCell;
  cell.model.sharedModel.setSource(code);
  void window.jupyterapp.commands.execute('notebook:run-cell-and-insert-below');
  return null;
}"""
STATE = """() => {
  const context = window.jupyterapp.shell.currentWidget?.sessionContext;
  return context?.session?.kernel ? context.kernelDisplayStatus : 'none';
}"""
PROFILES = """
profiles:
  - {{slug: small, display_name: Small, cpu: {{request: 50m, limit: 1}}, memory: {{request: 64Mi, limit: 1Gi}}}}
  - {{slug: wide, display_name: Wide, cpu: {wide}m}}
  - {{slug: huge, display_name: Huge, cpu: 4000}}
"""


@pytest.fixture(scope="module")
def api(cluster: Settings) -> client.CoreV1Api:
    return client.CoreV1Api(config.new_client_from_config(str(cluster.embedded_kubeconfig)))


@pytest.fixture(scope="module")
def lab(api: client.CoreV1Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.Lab]:
    """JupyterLab with kernels under hardware profiles, of which one takes nearly the whole machine."""
    folder = tmp_path_factory.mktemp("kernels")
    (node,) = api.list_node().items
    profiles = folder / "profiles.yaml"
    profiles.write_text(PROFILES.format(wide=1000 * int(node.status.allocatable["cpu"]) - 500))
    environment = {"KF_PROFILES": str(profiles), "JUPYTER_PATH": str(folder / "share" / "jupyter")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        assert cli.main(["kernels", "install", "--prefix", str(folder)]) == 0
    root = folder / "notebooks"
    root.mkdir()
    with labs.running(root, folder / "home", environment=environment) as lab:
        yield lab


def toast(page: Page, text: str) -> Locator:
    return page.locator(".Toastify__toast", has_text=text)


def say(page: Page, code: str, printed: str) -> None:
    """Run code in the notebook in front; it prints something."""
    page.wait_for_function(f"() => ({STATE})() === 'idle'", timeout=PATIENCE)
    page.evaluate(SAY, code)
    expect(page.locator(".jp-OutputArea-output", has_text=printed).last).to_be_visible(timeout=PATIENCE)


@pytest.fixture
def busy(api: client.CoreV1Api) -> Iterator[Callable[[], None]]:
    """A pod that takes what a kernel would need; called, it goes."""
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": "600m"}},
    }
    api.create_namespaced_pod("default", {"metadata": {"name": "busy"}, "spec": {"containers": [container]}})
    gone: list[str] = []

    def leave() -> None:
        if not gone:
            gone.append("busy")
            api.delete_namespaced_pod("busy", "default", grace_period_seconds=0)

    yield leave
    leave()


def test_what_a_kernel_waits_for_is_told_until_it_runs(
    open_lab: Open, busy: Callable[[], None], tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    page = open_lab()
    page.evaluate(CREATE, "kf-wide")
    told = toast(page, "Untitled")
    expect(told).to_contain_text("and the only machine does not have that much free now.", timeout=PATIENCE)
    page.screenshot(path=tmp_path / "waits.png")
    record_property("screenshot", str(tmp_path / "waits.png"))
    told.get_by_role("button", name="What to do").click()
    dialog = page.locator(".jp-Dialog", has_text="Kernel on Wide")
    expect(dialog).to_contain_text("It starts as soon as there is room; a smaller hardware profile may find some now.")
    dialog.get_by_role("button", name="Close").click()
    expect(told).to_be_visible()
    busy()
    say(page, "print(6 * 7)", "42")
    expect(told).to_have_count(0)
    labs.execute(page, "notebook:shutdown-kernel")


def test_why_a_kernel_does_not_start_is_in_the_dialog(
    open_lab: Open, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    # ipywidgets' own manager looks for the kernel of a session that there is none of.
    page = open_lab(expected="jupyter-widgets/jupyterlab-manager")
    page.evaluate(CREATE, "kf-huge")
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("Error Starting Kernel", timeout=PATIENCE)
    expect(dialog).to_contain_text("The kernel asks for 4000 CPUs")
    expect(dialog).to_contain_text("choose another hardware profile: waiting does not help")
    expect(toast(page, "The kernel asks for 4000 CPUs").last).to_be_visible()
    page.screenshot(path=tmp_path / "fails.png")
    record_property("screenshot", str(tmp_path / "fails.png"))


def test_a_page_that_was_left_open_goes_on_after_a_restart(open_lab: Open, lab: labs.Lab) -> None:
    page = open_lab(expected="Failed to fetch")  # while the server is away
    page.evaluate(CREATE, "kf-small")
    say(page, "kept = 41; print('it', 'is')", "it is")
    lab.stop()
    lab.start()
    page.wait_for_function(f"() => ({STATE})() !== 'none'", timeout=PATIENCE)
    if (button := page.locator(".jp-Dialog button")).count():
        button.last.click()
    say(page, "print(kept + 1)", "42")
    # And whoever opens the notebook anew is connected to the same kernel.
    path = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.context.save(); return null; }")
    page.close()
    again = open_lab()
    labs.execute(again, "docmanager:open", path=path)
    say(again, "print(kept + 2)", "43")
    labs.execute(again, "notebook:shutdown-kernel")
