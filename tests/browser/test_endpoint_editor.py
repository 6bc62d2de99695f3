"""The graph of an endpoint edited by keyboard and by mouse, copies of requests, and servers of other kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labs import PATIENCE, execute
from playwright.sync_api import Locator, Page, Route, expect
from test_endpoints import BUILT, MODEL, SERVING, picture, violations

import jupyterlab_kf as kf
from jupyterlab_kf import kinds
from jupyterlab_kf.manifests.serving import servers
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version
from jupyterlab_kf.services import session
from jupyterlab_kf.settings import Settings

pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="the panels are not built: there is no node (make install)")

Open = Callable[..., Page]


@pytest.fixture
def versions(cluster: Settings) -> Iterator[kf.Endpoint]:
    """Two versions, of which the first answers everything."""
    assert cluster
    kf.serve(MODEL.format(name="Twice", by=2), name="edited")
    yield kf.serve(MODEL.format(name="Thrice", by=3), name="edited", canary=0)
    kf.endpoint("edited").delete()


def opened(open_lab: Open) -> tuple[Page, Locator]:
    page = open_lab()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    execute(page, "kf:open-endpoint", namespace="default", name="edited")
    tab = page.locator(".kfx-EndpointPage")
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("1/1", timeout=PATIENCE)
    return page, tab


def test_servers_are_set_by_hand_and_what_sleeps_says_so(open_lab: Open, cluster: Settings, tmp_path: Path) -> None:
    assert cluster
    endpoint = kf.serve(MODEL.format(name="Twice", by=2), name="drowsy")
    page = open_lab()
    execute(page, "kf:open-endpoint", namespace="default", name="drowsy")
    tab = page.locator(".kfx-EndpointPage")
    servers = tab.get_by_role("group", name="Servers")
    servers.get_by_role("spinbutton", name="Servers of v1 at most").fill("2", timeout=PATIENCE)
    servers.get_by_role("checkbox", name="none while nobody asks").check()
    seconds = servers.get_by_role("spinbutton", name="Seconds without a request of v1")
    review_button = servers.get_by_role("button", name="Review servers …")
    seconds.fill("2")
    expect(review_button).to_be_disabled()
    seconds.fill("5")
    picture(page, "endpoint-servers", tmp_path)
    assert violations(page, ".kfx-EndpointPage") == []
    review_button.click()
    review = tab.get_by_role("group", name="Review of the change")
    expect(review).to_contain_text("cooldownPeriod: 5", timeout=PATIENCE)
    review.get_by_role("button", name="Apply").click()
    expect(tab).to_contain_text(
        "Done: scale: v1 1 to 2 servers by CPU, none after 5s without a request", timeout=PATIENCE
    )
    expect(tab).to_contain_text("No servers while nobody asks: v1.", timeout=120_000)
    expect(tab.locator("tr[data-version=v1]")).to_contain_text("asleep")
    expect(tab).not_to_contain_text("What the operator says")
    # Who asks is told what is waited for; what no server has counted is no zero.
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    asked = re.compile(r"/predict(\?|$)")
    page.route(asked, hold)
    request = tab.get_by_role("textbox", name="What to predict for, as JSON")
    request.fill("[[1, 2]]")
    with page.expect_request(asked):
        request.press("Shift+Enter")
    expect(tab.locator(".kfx-Try").get_by_role("status")).to_contain_text("This request starts its servers")
    expect(tab.locator("tr[data-version=v1] td").nth(4)).to_have_text("")
    expect(tab).not_to_contain_text("No requests while")
    held[0].continue_()
    expect(tab.get_by_role("region", name="Answer")).to_have_text("[[2,4]]", timeout=SERVING)
    expect(tab.locator(".kfx-Try").get_by_role("status")).to_have_text("")
    expect(tab.locator("tr[data-version=v1]")).to_contain_text(re.compile("1/1|asleep"), timeout=PATIENCE)
    assert len(endpoint.predict([[1.0, 2.0]])) == 1
    endpoint.delete()


def said(tab: Locator) -> str:
    """The units of the editor's drawing, in their order."""
    names = tab.locator(".kfx-GraphEdit-drawing [data-unit] .kfx-Graph-name").all_text_contents()
    return " ".join(sorted(one.strip() for one in names))


def test_a_graph_is_edited_by_keyboard_reviewed_and_applied(
    open_lab: Open, versions: kf.Endpoint, tmp_path: Path
) -> None:
    page, tab = opened(open_lab)
    tab.get_by_role("button", name="Edit the graph …").focus()
    page.keyboard.press("Enter")
    editor = tab.get_by_role("group", name="Editor of the graph of v1")
    unit = editor.get_by_role("button", name="v1, model")
    expect(unit).to_be_visible(timeout=PATIENCE)
    editor.get_by_role("combobox", name="Kept model").select_option(label=_label(editor, "Thrice"))
    editor.get_by_role("combobox", name="Add a router").select_option("epsilon-greedy")
    router = editor.get_by_role("button", name="epsilon-greedy, router")
    expect(router).to_be_visible()
    unit.focus()
    page.keyboard.press("ArrowLeft")
    expect(router).to_be_focused()
    expect(router).to_have_attribute("aria-pressed", "true")
    epsilon = editor.get_by_role("spinbutton", name="epsilon")
    epsilon.fill("0.3")
    epsilon.press("Enter")
    editor.get_by_role("button", name="Show what changes …").focus()
    page.keyboard.press("Enter")
    review = tab.get_by_role("group", name="Review of the change")
    expect(review).to_contain_text("serve v3: route(v1, thrice, by='epsilon-greedy', epsilon=0.3)", timeout=PATIENCE)
    # A difference of hundreds of lines is read from its beginning; the rest comes by key.
    expect(review).to_contain_text(re.compile(r"\d+ lines more · \d+ lines? less"))
    expect(review.get_by_role("button", name="Show all of it")).to_have_attribute("aria-expanded", "false")
    review.get_by_role("button", name="Show all of it").focus()
    page.keyboard.press("Enter")
    expect(review).to_contain_text("+      type: ROUTER")
    expect(review.locator(".kfx-Diff-fold")).to_have_count(0)
    assert versions.versions == {"v1": 100, "v2": 0}, "nothing is changed by looking"
    picture(page, "endpoint-graph-review", tmp_path)
    review.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_text("Copied.").first).to_be_visible(timeout=PATIENCE)
    assert "graph=kf.route(kf.unit(kf.kept_model(" in page.evaluate("() => navigator.clipboard.readText()")
    assert violations(page, ".kfx-EndpointPage") == []
    review.get_by_role("button", name="Apply").focus()
    page.keyboard.press("Enter")
    done = tab.get_by_role("status").first
    expect(done).to_contain_text("Done: serve v3", timeout=SERVING)
    expect(done).to_contain_text(f"This is revision {versions.history()[-1].number}.")
    # The draft is what is served now: the live graph is back, and keys go on where it is told.
    expect(editor).to_have_count(0)
    expect(done).to_be_focused()
    expect(tab.get_by_role("img", name=re.compile("^Graph: .*100 percent of the requests to .*thrice"))).to_be_visible()
    assert versions.versions == {"v1": 0, "v2": 0, "v3": 100}
    assert versions.predict([[1.0]]).ravel()[0] in (2.0, 3.0)

    # Rewards that are told by hand are seen by branch.
    request = tab.get_by_role("textbox", name="What to predict for, as JSON")
    request.fill("[[1]]")
    request.press("Shift+Enter")
    expect(tab.get_by_role("region", name="Answer")).to_be_visible(timeout=PATIENCE)
    tab.get_by_role("spinbutton", name="Reward").fill("0.75")
    tab.get_by_role("button", name="Tell").click()
    expect(tab.get_by_role("row", name="v3").first).to_contain_text("0.75 (1)", timeout=PATIENCE)
    expect(tab.locator("figcaption", has_text="Mean reward by branch")).to_contain_text("0.75", timeout=PATIENCE)
    picture(page, "endpoint-bandit", tmp_path)


def test_units_are_dragged_deleted_and_what_is_no_graph_is_refused(
    open_lab: Open, versions: kf.Endpoint, tmp_path: Path
) -> None:
    assert versions
    page, tab = opened(open_lab)
    execute(page, "apputils:change-theme", theme="JupyterLab Dark")
    tab.get_by_role("button", name="Edit the graph …").click()
    editor = tab.get_by_role("group", name="Editor of the graph of v1")
    expect(editor).to_be_visible(timeout=PATIENCE)
    parts = editor.get_by_role("combobox", name="Kept model")
    parts.select_option(label=_label(editor, "Thrice"))
    editor.get_by_role("combobox", name="Add a router").select_option("random")
    editor.get_by_role("button", name="Thrice, model").click()
    editor.get_by_role("combobox", name="Add a combiner").select_option("mean")
    assert said(tab) == "Thrice Thrice mean random v1"
    # A model that is dropped on a combiner becomes a branch of it; on another model it takes its place.
    _drag(page, editor.get_by_role("button", name="v1, model"), editor.get_by_role("button", name="mean, combiner"))
    expect(editor.get_by_role("button", name="random, router")).to_have_count(0)
    assert said(tab) == "Thrice Thrice mean v1"
    weight = editor.get_by_role("spinbutton", name="Weight of v1")
    editor.get_by_role("button", name="mean, combiner").click()
    weight.fill("2")
    weight.press("Tab")
    expect(editor.locator(".kfx-Graph-edge", has_text="\N{MULTIPLICATION SIGN} 2")).to_have_count(1)
    picture(page, "endpoint-graph-dark", tmp_path)
    found = violations(page, ".kfx-EndpointPage")
    # Two are taken away by key: a combiner with one branch goes, too.
    for _ in range(2):
        editor.get_by_role("button", name="Thrice, model").first.click()
        page.keyboard.press("Delete")
        expect(editor.locator("[data-unit][aria-pressed=true]")).to_be_focused()
    expect(editor.locator("[data-unit]")).to_have_count(1)
    expect(editor.get_by_role("button", name="✕ Delete v1")).to_be_disabled()
    editor.get_by_role("button", name="Undo").click()
    expect(editor.locator("[data-unit]")).to_have_count(3)
    editor.get_by_role("button", name="mean, combiner").click()
    editor.get_by_role("combobox", name="Add a router").select_option("random")
    editor.get_by_role("button", name="random, router").click()
    editor.get_by_role("button", name="Add as branch").click()
    editor.get_by_role("button", name="Show what changes …").click()
    alert = tab.get_by_role("alert")
    expect(alert).to_contain_text("by chance there are two parts to choose from, not 3", timeout=PATIENCE)
    execute(page, "apputils:change-theme", theme="JupyterLab Light")
    assert found == []


def test_what_somebody_else_changed_meanwhile_is_looked_at_again(open_lab: Open, versions: kf.Endpoint) -> None:
    page, tab = opened(open_lab)
    slider = tab.get_by_role("slider", name="Percent of the requests to v2")
    slider.focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    review = tab.get_by_role("group", name="Review of the change")
    expect(review.get_by_role("button", name="Apply")).to_be_focused(timeout=PATIENCE)
    versions.traffic(v1=95, v2=5)
    page.keyboard.press("Enter")
    expect(tab.get_by_role("alert")).to_contain_text("has changed since this was planned", timeout=PATIENCE)
    expect(review.get_by_role("button", name="Apply")).to_have_count(0)
    expect(review.get_by_role("button", name="Look again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(review).to_contain_text("-    traffic: 95", timeout=PATIENCE)
    expect(review.get_by_role("button", name="Apply")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tab.get_by_role("status").first).to_contain_text("Done: traffic", timeout=PATIENCE)
    assert versions.versions == {"v1": 90, "v2": 10}


def test_copies_of_requests_are_sent_from_the_page(open_lab: Open, versions: kf.Endpoint, tmp_path: Path) -> None:
    page, tab = opened(open_lab)
    percent = tab.get_by_role("spinbutton", name="Percent of the requests that v2 gets copies of")
    percent.fill("40")
    tab.get_by_role("button", name="Review mirror …").click()
    review = tab.get_by_role("group", name="Review of the change")
    expect(review).to_contain_text("+    shadow: true", timeout=PATIENCE)
    picture(page, "endpoint-mirror", tmp_path)
    review.get_by_role("button", name="Apply").click()
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("copies of 40 %", timeout=PATIENCE)
    assert versions.versions == {"v1": 100}
    tab.get_by_role("button", name="End the mirror …").click()
    review.get_by_role("button", name="Apply").click()
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("0 %", timeout=PATIENCE)
    # The list is filtered by what it shows.
    execute(page, "kf:open-panel")
    box = page.get_by_role("searchbox", name="Filter endpoints by name, namespace, state or version")
    box.fill("nobody")
    expect(page.locator(".kfx-Endpoint")).to_have_count(0)
    box.fill("v2 edit")
    expect(page.locator(".kfx-Endpoint[data-name=edited]")).to_have_count(1)
    box.fill("")


def test_copies_are_asked_for_by_a_rows_menu_with_the_keyboard(open_lab: Open, versions: kf.Endpoint) -> None:
    page = open_lab()
    execute(page, "kf:open-panel")
    row = page.locator(".kfx-Endpoint[data-name=edited]")
    expect(row).to_be_visible(timeout=PATIENCE)
    row.click(button="right")
    page.get_by_role("menuitem", name="Mirror Requests of Endpoint …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Percent of the requests that v2 gets copies of")
    dialog.get_by_role("spinbutton").fill("30")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("+    shadow: true", timeout=PATIENCE)
    expect(dialog.locator(".kfx-Diff-more", has_text="shadow: true")).to_be_visible()
    assert versions.versions == {"v1": 100, "v2": 0}, "nothing is changed by looking"
    apply = dialog.get_by_role("button", name="Apply")
    expect(apply).to_be_focused(timeout=PATIENCE)
    # The difference is come by, and read, with the keyboard; Enter in it applies nothing.
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("region", name="Difference of the manifests")).to_be_focused()
    page.keyboard.press("Enter")
    expect(apply).to_be_visible()
    assert versions.versions == {"v1": 100, "v2": 0}
    apply.press("Enter")
    expect(dialog).to_be_hidden(timeout=PATIENCE)
    execute(page, "kf:open-endpoint", namespace="default", name="edited")
    tab = page.locator(".kfx-EndpointPage")
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("copies of 30 %", timeout=PATIENCE)
    # The same command ends it.
    execute(page, "kf:open-panel")
    row.click(button="right")
    page.get_by_role("menuitem", name="Mirror Requests of Endpoint …").click()
    expect(dialog.get_by_role("spinbutton")).to_have_value("0")
    expect(dialog.get_by_role("spinbutton")).to_be_focused(timeout=PATIENCE)
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("-    shadow: true", timeout=PATIENCE)
    dialog.get_by_role("button", name="Apply").click()
    expect(tab.locator("tr[data-version=v2]")).to_contain_text("0 %", timeout=PATIENCE)


def test_an_ab_test_shows_its_branches_after_keyboard_requests(open_lab: Open, cluster: Settings) -> None:
    assert cluster
    twice, thrice = MODEL.format(name="Twice", by=2), MODEL.format(name="Thrice", by=3)
    endpoint = kf.serve(graph=kf.route(kf.unit(twice), kf.unit(thrice), by="random"), name="divided")
    try:
        page = open_lab()
        execute(page, "kf:open-endpoint", namespace="default", name="divided")
        tab = page.locator(".kfx-EndpointPage")
        expect(tab.locator("tr[data-version=v1]")).to_contain_text("1/1", timeout=PATIENCE)
        request = tab.get_by_role("textbox", name="What to predict for, as JSON")
        request.fill("[[1]]")
        request.press("Shift+Enter")
        expect(tab.get_by_role("region", name="Answer")).to_be_visible(timeout=PATIENCE)
        tab.get_by_role("button", name="Right", exact=True).click()
        plot = tab.locator("figcaption", has_text="Mean reward by branch")
        expect(plot).to_contain_text("1", timeout=PATIENCE)
        # Units and the way of the request are told by the names that their author knows.
        expect(tab.locator(".kfx-Graph-name").filter(has_text=re.compile("^thrice$"))).to_be_visible()
        expect(tab.locator(".kfx-Try")).to_contain_text(re.compile("ab-test → (twice|thrice)"))
        expect(tab.locator("figcaption", has_text="Choices per second")).to_be_visible()
        # What each unit prints is read once somebody wants to.
        tab.locator("summary", has_text="Logs").press("Enter")
        expect(tab.get_by_role("log", name="Log of divided")).to_contain_text("v1-0/twice", timeout=PATIENCE)
    finally:
        endpoint.delete()


def _label(editor: Locator, called: str) -> str:
    """The entry of a kept model."""
    every = editor.get_by_role("combobox", name="Kept model").locator("option")
    expect(every.filter(has_text=called).first).to_be_attached(timeout=PATIENCE)
    return every.filter(has_text=called).first.inner_text()


def _drag(page: Page, what: Locator, onto: Locator) -> None:
    begin, end = what.bounding_box(), onto.bounding_box()
    assert begin is not None
    assert end is not None
    page.mouse.move(begin["x"] + 20, begin["y"] + 12)
    page.mouse.down()
    page.mouse.move(begin["x"] + 40, begin["y"] + 20, steps=3)
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=6)
    page.mouse.up()


def test_a_server_without_an_operator_is_listed_and_asked_from_its_row(
    open_lab: Open, cluster: Settings, tmp_path: Path
) -> None:
    assert cluster
    here = session.current()
    version = Version(name="v1", source="nowhere/model")
    spec = ServerSpec(name="digits", namespace="default", server=servers.TENSORFLOW, versions=(version,), gateway="")
    made = [(kinds.SERVICE, servers.service(spec)), (kinds.DEPLOYMENT, servers.deployment(spec, version))]
    for kind, obj in made:
        here.run(lambda client, kind=kind, obj=obj: client.create(kind, obj, namespace="default"))
    try:
        page = open_lab()
        execute(page, "kf:open-panel")
        row = page.locator(".kfx-Endpoint[data-name=digits]")
        expect(row).to_contain_text("Starting · v1 is not ready", timeout=PATIENCE)
        row.get_by_role("button", name="digits").first.focus()
        page.keyboard.press("Enter")
        expect(row).to_contain_text("TensorFlow Serving")
        expect(row.get_by_role("region", name="Address")).to_contain_text("digits.default.svc.cluster.local:8501")
        row.get_by_role("button", name="Predict").click()
        expect(row.get_by_role("alert")).to_contain_text("cannot be reached", timeout=PATIENCE)
        assert violations(page, "#kf-panel") == []
        picture(page, "endpoint-other", tmp_path)
    finally:
        for kind, obj in made:
            name = obj["metadata"]["name"]
            here.run(lambda client, kind=kind, name=name: client.delete(kind, "default", name))
    expect(row).to_have_count(0, timeout=PATIENCE)
