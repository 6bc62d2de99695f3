"""Whatever happens between a server and who watches it: what is believed in the end is so, and nobody is pestered.

Hours pass in these tests by a clock of their own. ``KF_WATCH_EXAMPLES`` is how many random histories are lived through.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from watch_world import LATENCY, Server, Sickness, Watcher, client_of, in_no_time, now

from jupyterlab_kf.cluster import gate, watch
from jupyterlab_kf.model import Obj

EXAMPLES = int(os.environ.get("KF_WATCH_EXAMPLES", "120"))
RECOVERY = watch.SILENCE + watch.Pace().longest + gate.LONGEST_PAUSE * 1.25 + 2.0 + 1.0
"""Seconds after which everything is known again at the latest: silence is noticed, a pause ends, the gate opens."""

NAMES = ("a", "b", "c", "d", "e")
Step = tuple[float, str, str]

names = st.sampled_from(NAMES)
writes = st.tuples(st.sampled_from(["put", "put", "drop", "renew"]), names)
faults = st.one_of(
    st.tuples(st.just("cut"), st.sampled_from(["", "reset", "line", "410", "429", "500"])),
    st.tuples(st.sampled_from(["repeat", "forget", "deafen", "fall", "freeze", "shorten", "restart"]), st.just("")),
    st.tuples(st.just("sicken"), st.sampled_from(["429", "429 1", "500", "503", "503 5", "500 ready", "503 ready"])),
    st.tuples(st.sampled_from(["lapse_put", "lapse_drop", "lapse_renew"]), names),
    st.tuples(st.just("gone"), st.sampled_from(["http", "event"])),
    st.tuples(st.just("heal"), st.just("")),
)
delays = st.sampled_from([0.0, 0.0, LATENCY / 2, LATENCY, 0.1, 0.3, 1.0, 4.0, 15.0, 75.0])
histories = st.lists(st.tuples(delays, writes | writes | faults).map(lambda one: (one[0], *one[1])), max_size=40)


def name_only(obj: Obj) -> Obj:
    head = obj["metadata"]
    return {"metadata": {key: head[key] for key in ("uid", "name", "namespace", "resourceVersion")}}


async def _live_through(history: list[Step]) -> None:
    server = Server()
    client = client_of(server)
    for name in NAMES:
        server.put(name)
    watchers = [Watcher(client), Watcher(client, keep=name_only), Watcher(client)]
    for delay, what, which in history:
        await asyncio.sleep(delay)
        server.happen(what, which)
    server.heal()
    await asyncio.sleep(RECOVERY)
    for one in watchers:
        assert one.knows(server), f"{one.picture} is not {server.here}"
        if not server.told_gone:
            # Nothing was too old to be told: so every single change was told, in the order in which it happened.
            assert one.told == [
                (type_, obj["metadata"]["resourceVersion"])
                for number, type_, obj in server.history
                if number > server.listed[one]
            ]
        await one.stop()
    await client.close()


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(histories)
@example([(LATENCY * 1.5, "drop", "a"), (0.0, "forget", "")])  # pages go stale while they are read
@example([(1.0, "fall", ""), (0.0, "drop", "a"), (0.0, "renew", "b"), (0.0, "forget", ""), (9.0, "heal", "")])
def test_whatever_happens_the_picture_is_the_servers_in_the_end(history: list[Step]) -> None:
    in_no_time(_live_through(history))


# ---------------------------------------------------------------------------------------------------------- patience

LOOPS = 20
HOUR = 3600.0


async def _crowd(server: Server) -> tuple[Any, list[Watcher]]:
    """Many who watch, all of them up to date."""
    server.put("a")
    client = client_of(server)
    watchers = [Watcher(client) for _ in range(LOOPS)]
    await asyncio.sleep(30)
    assert all(one.knows(server) and one.synced for one in watchers)
    assert len(server.wires) == LOOPS
    return client, watchers


async def _leave(client: Any, watchers: list[Watcher]) -> None:
    for one in watchers:
        await one.stop()
    await client.close()


def test_who_watches_a_quiet_kind_lists_it_once_and_asks_a_dozen_times_an_hour_at_most() -> None:
    async def idle() -> None:
        server = Server()
        client, watchers = await _crowd(server)
        lists, began = server.count("list"), now()
        await asyncio.sleep(HOUR)
        assert server.count("list") == lists == LOOPS
        assert LOOPS * 6 <= server.count("watch", began) <= LOOPS * 12
        assert server.count("ready") == 0
        await _leave(client, watchers)

    in_no_time(idle())


@pytest.mark.parametrize("outage", [10.0, 75.0, HOUR])
@pytest.mark.parametrize("how", ["fall", "freeze", "sicken 503", "sicken 429 1"])
def test_after_an_outage_all_go_on_together_where_they_were(how: str, outage: float) -> None:
    async def out() -> None:
        server = Server()
        client, watchers = await _crowd(server)
        lists, began = server.count("list"), now()
        server.happen(*how.partition(" ")[::2])
        server.put("b")
        server.drop("a")
        await asyncio.sleep(outage)
        assert server.count("watch", began) <= LOOPS, "no loop asks for itself while the server is away"
        assert server.count("ready", began) <= 4 + outage if outage < HOUR else HOUR / 3
        back = now()
        server.heal()
        await asyncio.sleep(gate.LONGEST_PAUSE * 1.25 + 2.0 + 1.0)
        assert all(one.knows(server) for one in watchers)
        assert len(server.wires) == LOOPS
        assert server.count("list") == lists, "nothing was forgotten, so nothing is read anew"
        times = [time for time, what in server.asked if what == "watch" and time >= back]
        if how != "freeze":  # what waited in a frozen server's queues is answered when it thaws
            assert len(times) == LOOPS
            assert max(times) - min(times) <= 2.5
            assert max(times) - min(times) > 0.12, "not all in one moment"
        await _leave(client, watchers)

    in_no_time(out())


@pytest.mark.parametrize(
    "what", ["shorten", "500 ready", "503 ready", "429 ready", "forgetful http", "forgetful event"]
)
def test_a_server_that_is_ready_and_gives_nothing_is_asked_less_and_less(what: str) -> None:
    long = 600.0

    async def sick() -> None:
        server = Server()
        client, watchers = await _crowd(server)
        began = now()
        if what.startswith("forgetful"):
            server.forgetful, server.gone_by_http = True, what.endswith("http")
            server.cut("410")
        else:
            server.happen(*(("sicken", what) if what.endswith("ready") else (what, "")))
        await asyncio.sleep(120 + long)
        first = [server.count(kind, began, began + 10) for kind in ("list", "watch")]
        later = [server.count(kind, began + 120, began + 120 + long) for kind in ("list", "watch", "ready")]
        assert max(first) <= LOOPS * 7
        assert all(count <= LOOPS * (long / (watch.Pace().longest / 2) + 1) for count in later)
        assert later[1] >= LOOPS * (long / (watch.Pace().longest + 1) - 1), "but it is asked"
        moments = [time for time, kind in server.asked if kind == "watch" and time > began]
        assert len(set(moments)) > len(moments) * 0.9, "not all in one moment"
        server.put("b")
        server.heal()
        await asyncio.sleep(watch.Pace().longest + 2.0)
        assert all(one.knows(server) for one in watchers)
        await _leave(client, watchers)

    in_no_time(sick())


def test_who_is_told_when_to_come_back_does_not_come_sooner_nor_all_at_once() -> None:
    async def told() -> None:
        server = Server()
        client, watchers = await _crowd(server)
        server.sick = Sickness(429, "20", ready=True)
        server.cut("")
        await asyncio.sleep(5)
        refused = max(time for time, what in server.asked if what == "watch")
        await asyncio.sleep(25)
        again = [time for time, what in server.asked if what == "watch" and time > refused]
        assert len(again) == LOOPS
        assert min(again) >= refused + 18
        assert len(set(again)) == LOOPS
        await _leave(client, watchers)

    in_no_time(told())
