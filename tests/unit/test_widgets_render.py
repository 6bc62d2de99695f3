"""The renderers: what a page says of a job, and that nothing a job prints can become markup."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from jupyterlab_kf.model import (
    Condition,
    Event,
    Explanation,
    JobView,
    LogLine,
    Phase,
    Point,
    Ref,
    Replica,
    Status,
)
from jupyterlab_kf.services.board import JobRow, JobsRecord
from jupyterlab_kf.widgets import jobs, plot, tables, text
from jupyterlab_kf.widgets.markup import Html, el
from jupyterlab_kf.widgets.plans import plan_card
from jupyterlab_kf.widgets.rendered import job_card
from jupyterlab_kf.widgets.wire import MIME_JOB, job_json

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)> &amp; \"'"

TRACEBACK = """Traceback (most recent call last):
  File "Cell In[5]", line 7, in <module>
    main()
ValueError: <b>no</b>"""


def points(*values: float) -> tuple[Point, ...]:
    return tuple(Point(value, float(step)) for step, value in enumerate(values, 1))


def a_view(phase: Phase = Phase.RUNNING, **changes: object) -> JobView:
    view = JobView(
        ref=Ref("MPIJob", "digits", "default"),
        framework="mpi",
        status=Status(phase, created=100.0, started=103.0),
        replicas=(Replica("worker", 0, "Running", node="laptop"), Replica("worker", 1, "Failed", exit_code=9)),
        log=(LogLine("worker-0", "epoch=1 loss=0.9"), LogLine("worker-1", "epoch=1 loss=0.8")),
        metrics={"loss": {"worker-0": points(0.9, 0.5), "worker-1": points(0.8, 0.4)}},
        progress=0.25,
        eta=30.0,
        seen=111.0,
    )
    return replace(view, **changes)  # type: ignore[arg-type]


class Balanced(HTMLParser):
    """Fails on a tag that is closed wrongly; notes what is there."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def a_cluster(name: str) -> tables.ClusterFacts:
    nodes = (tables.NodeRow(name, ready=True, cpu="2", memory=name, gpu="0"),)
    return tables.ClusterFacts(name, name, name, name, name, nodes, (name, name))


def words(markup: str) -> str:
    """What a reader sees of the markup."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", markup, flags=re.DOTALL))


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_a_card_in_which_its_word_stands(phase: Phase) -> None:
    card = job_card(a_view(phase))
    Balanced(card.html)
    assert str(phase) in words(card.html)
    assert str(phase) in card.text


def test_a_card_says_how_far_the_job_is_and_how_each_replica_does() -> None:
    seen = words(jobs.job_html(a_view()))
    for part in ("digits", "MPI", "8s · about 30s left", "worker-0", "laptop", "exit 9", "epoch=1 loss=0.8"):
        assert part in seen, part
    assert 'aria-valuenow="25"' in jobs.job_html(a_view())


def test_nothing_that_a_job_or_a_user_writes_becomes_markup() -> None:
    view = a_view(
        ref=Ref("MPIJob", EVIL, EVIL),
        framework=EVIL,
        replicas=(Replica(EVIL, 0, EVIL, reason=EVIL, message=EVIL, node=EVIL),),
        log=(LogLine(EVIL, EVIL),),
        metrics={EVIL: {EVIL: points(1, 2)}},
        explanation=Explanation(EVIL, EVIL, EVIL, f"{TRACEBACK}\n{EVIL}"),
    )
    events = [Event("Warning", EVIL, EVIL, Ref(EVIL, EVIL))]
    rendered = [
        job_card(view).html,
        tables.description(view, events, [(EVIL, EVIL)]).html,
        tables.jobs_table([tables.JobRow(EVIL, EVIL, EVIL, EVIL, EVIL, 1.0)], namespaces=True).html,
        tables.note(EVIL, EVIL).html,
        plan_card(EVIL, f"a: {EVIL}").html,
        tables.cluster_card(a_cluster(EVIL)).html,
    ]
    for markup in rendered:
        page = Balanced(markup)
        assert not {"script", "img"} & set(page.tags)
        assert not [name for name in page.attributes if name.startswith("on")]


def test_elements_that_run_code_cannot_be_made() -> None:
    for tag, attributes in (("script", {}), ("iframe", {}), ("p", {"onclick": "alert(1)"})):
        with pytest.raises(ValueError, match="no place"):
            el(tag, "x", **attributes)


def test_escape_sequences_and_control_characters_do_not_reach_the_page() -> None:
    raw = "\x1b[31mred\x1b[0m \x1b]0;title\x07 10%\r 50%\r 90%\x00\x08\n"
    assert text.clean(raw) == " 90%"
    assert text.clean("\x1b[1;31mred\x1b[0m\ttab") == "red    tab"
    assert len(text.clean("x" * 5000)) == text.MAX_LINE


def test_a_waiting_job_says_why_and_what_to_do() -> None:
    why = Explanation("Waiting for CPU: 8 are asked for, 2 are there.", "Ask for less with --cpu.")
    card = job_card(a_view(Phase.PENDING, explanation=why, status=Status(Phase.PENDING, created=100.0)))
    for output in (words(card.html), card.text):
        assert why.sentence in output
        assert why.hint in output
        assert "waiting 11s" in output


def test_a_failed_job_shows_the_traceback_of_the_replica_that_failed_first() -> None:
    card = job_card(a_view(Phase.FAILED, explanation=Explanation("worker-1 failed", "", "worker-1", TRACEBACK)))
    assert "Traceback of worker-1" in words(card.html)
    assert "&lt;b&gt;no&lt;/b&gt;" in card.html
    assert "ValueError: <b>no</b>" in card.text


def test_a_long_traceback_keeps_its_head_and_its_end() -> None:
    long = "Traceback (most recent call last):\n" + "\n".join(f"  line {n}" for n in range(500)) + "\nKeyError: 'x'"
    kept = jobs.tail(long).splitlines()
    assert len(kept) <= jobs.MAX_TRACEBACK + 2
    assert (kept[0], kept[-1]) == ("Traceback (most recent call last):", "KeyError: 'x'")


def test_of_many_replicas_those_in_trouble_are_named_and_the_rest_counted() -> None:
    many = [Replica("worker", n, "Running") for n in range(100)]
    many[77] = Replica("worker", 77, "Failed", exit_code=1)
    seen = words(jobs.job_html(a_view(replicas=tuple(many))))
    assert "worker-77" in seen
    assert "and 85 more Running" in seen
    assert "99 Running · 1 Failed" in jobs.job_text(a_view(replicas=tuple(many)))


def test_the_same_view_gives_the_same_frame() -> None:
    assert job_card(a_view()) == job_card(a_view())


def test_colours_follow_who_speaks() -> None:
    view = a_view(
        replicas=(Replica("launcher", 0, "Running"), Replica("worker", 0, "Running")),
        log=(LogLine("rank-10", "x"), LogLine("rank-2", "x")),
    )
    assert jobs.speakers(replace(view, metrics={})) == ["rank-2", "rank-10", "launcher-0", "worker-0"]


def test_new_lines_are_found_by_what_both_windows_share() -> None:
    lines = [LogLine("worker-0", f"line {n}") for n in range(10)]
    assert jobs.new_lines(lines[:5], lines[2:8]) == (lines[5:8], False)
    assert jobs.new_lines(lines[:3], lines[6:9]) == (lines[6:9], True)
    assert jobs.new_lines([], lines[:2]) == (lines[:2], False)
    assert jobs.new_lines(lines[:2], lines[:2]) == ([], False)


# ------------------------------------------------------------------------------------------------------------ plots


def drawing(metrics: dict[str, dict[str, tuple[Point, ...]]]) -> str:
    made = plot.charts(metrics, ["worker-0", "worker-1"])
    assert isinstance(made, Html)
    return made


def test_a_plot_is_well_formed_and_described_in_words() -> None:
    svg = re.search(r"<svg.*?</svg>", drawing({"loss": {"worker-0": points(0.9, 0.5)}}), re.DOTALL)
    assert svg is not None
    tree = ET.fromstring(svg[0])
    assert tree.attrib["role"] == "img"
    assert [child.text for child in tree if child.tag in ("title", "desc")] == [
        "Plot of loss",
        "loss by replica. worker-0: 2 values, from 0.9 to 0.5.",
    ]


def test_replicas_differ_by_more_than_colour() -> None:
    made = drawing({"loss": {"worker-0": points(1, 2), "worker-1": points(2, 3)}})
    assert made.count("stroke-dasharray") == 2  # the second line and its key in the legend
    assert "worker-1" in words(made)


@pytest.mark.parametrize(
    "values",
    [(1.0,), (2.0, 2.0, 2.0), (0.0, 0.0), (math.nan,), (math.inf, -math.inf), (1.0, math.nan, 3.0), (1e-300, 1e300)],
)
def test_every_series_can_be_drawn(values: tuple[float, ...]) -> None:
    made = drawing({"m": {"worker-0": points(*values)}})
    Balanced(made)
    for number in re.findall(r'(?:x1|x2|y1|y2|cx|cy|points)="([^"]*)"', made):
        assert "nan" not in number
        assert "inf" not in number


def test_a_gap_of_nan_breaks_the_line() -> None:
    assert drawing({"m": {"worker-0": points(1, 2, math.nan, 3, 4)}}).count("<polyline") == 2


def test_points_without_a_step_are_numbered() -> None:
    made = drawing({"m": {"worker-0": tuple(Point(float(n)) for n in range(4))}})
    assert ">1</text>" in made
    assert ">4</text>" in made


def test_a_long_series_is_thinned_and_keeps_its_spike_and_its_end() -> None:
    values = [1.0] * 100_000
    values[54_321] = 99.0
    values[-1] = 0.5
    kept = plot.thin(points(*values))
    assert len(kept) <= plot.MAX_POINTS + 1
    assert max(point.value for point in kept) == 99.0
    assert kept[-1].value == 0.5


def test_ticks_are_round_numbers_in_the_range() -> None:
    assert plot.ticks(0, 10) == (0, 2, 4, 6, 8, 10)
    assert plot.ticks(0.1, 0.93) == pytest.approx((0.2, 0.4, 0.6, 0.8))
    assert plot.ticks(5, 5) == (5,)


def test_more_metrics_than_fit_are_named() -> None:
    made = drawing({f"m{n}": {"worker-0": points(1, 2)} for n in range(9)})
    assert "and 3 more metrics: m6, m7, m8" in words(made)
    assert plot.charts({"m": {"worker-0": ()}}, []) is None


# -------------------------------------------------------------------------------------------------- JSON and tables


def test_the_view_is_valid_json_for_browsers() -> None:
    view = a_view(metrics={"loss": {"worker-0": points(1, math.nan, math.inf)}}, explanation=Explanation("why"))
    data = json.loads(json.dumps(job_json(view), allow_nan=False))
    assert data["version"] == 1
    assert data["status"]["phase"] == "Running"
    assert data["ref"]["name"] == "digits"
    assert data["replicas"][0]["role"] == "worker"
    assert [point["value"] for point in data["metrics"]["loss"]["worker-0"]] == [1, None, None]
    assert set(job_card(view).bundle()) == {MIME_JOB, "text/html", "text/plain"}


def test_the_table_of_jobs_reads_like_kubectl() -> None:
    table = tables.jobs_table([tables.JobRow("digits", "default", "mpi", "Running", "2/3", 75.0, 61.0)])
    assert table.text.splitlines() == [
        "NAME     FRAMEWORK   STATE     REPLICAS   TOOK     AGE",
        "digits   MPI         Running   2/3        1m 01s   1m 15s",
    ]
    Balanced(table.html)
    assert "%%kf_train" in tables.jobs_table([]).text


def test_the_table_of_jobs_is_recorded_for_jupyterlab() -> None:
    row = JobRow("u1", "MPIJob", "default", "digits", "mpi", Phase.RUNNING, roles={"worker": 2})
    for rows in [(row,), ()]:
        record = JobsRecord(1, "embedded", "default", 9.0, len(rows), rows)
        bundle = tables.jobs_table([], record).bundle()
        assert set(bundle) == {"application/vnd.jupyterlab-kf.jobs+json", "text/html", "text/plain"}
        data = json.loads(json.dumps(bundle["application/vnd.jupyterlab-kf.jobs+json"], allow_nan=False))
        assert [one["name"] for one in data["rows"]] == [one.name for one in rows]
        assert (data["cluster"], data["namespace"], data["seen"]) == ("embedded", "default", 9.0)


def test_a_description_has_conditions_events_and_what_ran() -> None:
    view = a_view(status=Status(Phase.RUNNING, (Condition("Created", status=True, reason="JobCreated", since=101.0),)))
    event = Event("Normal", "SuccessfulCreate", "made it", Ref("Pod", "digits-worker-0"), 3, 106.0)
    said = tables.description(view, [event], [("code", "sha256:abc")]).text
    for part in ("JobCreated", "10s ago", "SuccessfulCreate", "5s ago (3 times)", "sha256:abc"):
        assert part in said, part


def test_files_are_listed_with_their_sizes() -> None:
    assert "sub/model.npz  1.5 kB" in tables.files_list(Path("results"), [("sub/model.npz", 1500)]).text
    assert "left no files" in tables.files_list(Path("results"), []).text


def test_a_plan_says_that_nothing_was_created() -> None:
    card = plan_card("Would create MPIJob digits.", "kind: MPIJob\nmetadata:\n  name: digits\n")
    assert "nothing was created" in card.text
    assert "nothing was created" in words(card.html)
    assert 'class="kf-n">kind</span>' in card.html


def test_a_plan_shows_the_job_first_and_folds_what_is_long() -> None:
    program = "\n".join(f"    line {n}" for n in range(400))
    first = f"kind: ConfigMap\ndata:\n  launch.py: |\n{program}\n  b: {'x' * 500}\n"
    yaml = f"{first}---\nkind: MPIJob\nspec:\n  a: |-\n    short\n"
    lines = plan_card("Would create two objects.", yaml).text.splitlines()
    assert lines.index("kind: MPIJob") < lines.index("kind: ConfigMap")
    assert "    # … 399 more lines" in lines
    assert "    short" in lines
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.4, "0s"), (59.9, "59s"), (65, "1m 05s"), (7380, "2h 03m"), (349_200, "4d 01h"), (math.nan, "")],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert text.duration(seconds) == said
