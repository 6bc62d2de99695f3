"""An endpoint, as an object to hold: predict, feedback, traffic, versions, history, and why it is not ready.

All state is the cluster's: ``endpoint("name")`` is the same thing again, in another notebook and after every restart.
"""

from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError, PredictionError, UsageError
from jupyterlab_kf.manifests import endpoints, scaling
from jupyterlab_kf.manifests.endpoints import Revision
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.model import Explanation, LogLine, Obj, Ref, meta
from jupyterlab_kf.services.plans import to_yaml
from jupyterlab_kf.services.serving import (
    asking,
    batches,
    changes,
    findings,
    measures,
    messages,
    monitors,
    printed,
    references,
    rollout,
    routers,
    shipping,
    states,
)
from jupyterlab_kf.services.serving.messages import Answer
from jupyterlab_kf.services.serving.plans import difference
from jupyterlab_kf.services.serving.rollout import Author
from jupyterlab_kf.services.serving.states import EndpointView
from jupyterlab_kf.services.serving.way import SECONDS, Way
from jupyterlab_kf.services.session import Session

_TIMEOUT: Final = 600.0
_ASKED: Final = 1000
"""Rows of a reference that the model is asked about."""


class Endpoint:
    """A model, or several versions of it, behind one path of a cluster."""

    def __init__(self, where: Session, obj: Obj) -> None:
        self._session = where
        self._obj = obj
        self._way = Way()
        self._last: Answer | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return str(meta(self._obj)["name"])

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(meta(self._obj)["namespace"])

    @property
    def ref(self) -> Ref:
        """Enough to find it again."""
        return Ref.of(self._obj)

    @property
    def protocol(self) -> str:
        """seldon, v2 or tensorflow."""
        return endpoints.protocol(self._obj)

    @property
    def path(self) -> str:
        """The path of its predictions, below the gateway's address."""
        return shipping.path(self.namespace, self.name, self.protocol)

    # Looking

    def view(self) -> EndpointView:
        """Everything about it at this moment."""
        return self._session.run(self._look)

    @property
    def status(self) -> str:
        """Ready, Degraded (a version that answers nothing is not ready), Starting or Failed."""
        return self.view().state

    @property
    def versions(self) -> dict[str, int]:
        """Version to the percentage of requests that it answers."""
        return endpoints.weights(self._read())

    def explain(self) -> Explanation | None:
        """Why it is not ready, and what to do; None when all is well."""
        return self.view().explanation

    def history(self) -> list[Revision]:
        """Its changes, oldest first: what was done, by whom, from which notebook, with which code and model."""
        now = self._read()
        return self._session.run(lambda client: rollout.history(client, now))

    def logs(self, version: str | None = None, *, tail: int | None = 200) -> list[LogLine]:
        """What its servers printed, by replica; of one version where that is named."""
        now = self._read()
        if version is not None:
            changes.check_version(now, version)
        wanted = list(endpoints.versions(now)) if version is None else [version]
        return self._session.run(lambda client: printed.read(client, now, wanted, tail))

    def metrics(self) -> dict[str, measures.Measures]:
        """What its versions measured of the requests that they answered, since their pods started."""
        now = self._read()
        return self._session.run(lambda client: measures.read(client, now))

    def provenance(self, version: str | None = None) -> dict[str, Any]:
        """What a version is made of, as it was recorded; of the one that answers most when none is named."""
        now = self._read()
        found = endpoints.versions(now)
        chosen = max(endpoints.weights(now).items(), key=lambda pair: pair[1])[0] if version is None else version
        changes.check_version(now, chosen)
        return endpoints.provenance(found[chosen])

    def yaml(self) -> str:
        """The SeldonDeployment as YAML."""
        now = self._read()
        head = {key: value for key, value in meta(now).items() if key in ("name", "namespace", "labels", "annotations")}
        return to_yaml({"apiVersion": now["apiVersion"], "kind": now["kind"], "metadata": head, "spec": now["spec"]})

    # Predictions

    def predict(self, value: Any, *, names: tuple[str, ...] | list[str] = (), timeout: float = SECONDS) -> Any:
        """The prediction for an array, list of rows, one row, DataFrame, text, bytes, image or a protocol's message.

        Arrays come back as arrays, a DataFrame as one with its index; one row gives one result.

        Raises:
            PredictionError: the model refused or failed; says which unit, with its traceback.
        """
        return self.ask(value, names=names, timeout=timeout).value

    def ask(self, value: Any, *, names: tuple[str, ...] | list[str] = (), timeout: float = SECONDS) -> Answer:
        """As :meth:`predict`, with everything that came back: tags, the way through the graph, the version, seconds."""
        found = self._session.run(
            lambda client: asking.ask(client, self._obj, self._way, value, names=names, seconds=timeout)
        )
        if found.path and not found.path.keys() & endpoints.units(self._obj).keys():
            self._read()  # it has a version that was not there when this handle was got
        self._last = messages.of_version(found, endpoints.units(self._obj))
        return self._last

    async def ask_async(
        self,
        value: Any,
        *,
        names: tuple[str, ...] | list[str] = (),
        timeout: float = SECONDS,  # noqa: ASYNC109
    ) -> Answer:
        """As :meth:`ask`, to be awaited: several at once by ``asyncio.gather``. It does not become the last answer."""
        return await self._session.awaited(
            lambda client: asking.ask(client, self._obj, self._way, value, names=names, seconds=timeout)
        )

    async def predict_async(
        self,
        value: Any,
        *,
        names: tuple[str, ...] | list[str] = (),
        timeout: float = SECONDS,  # noqa: ASYNC109
    ) -> Any:
        """As :meth:`predict`, to be awaited: ``await endpoint.predict_async(X)`` in a cell, which blocks no other."""
        return (await self.ask_async(value, names=names, timeout=timeout)).value

    def batch(
        self,
        rows: Any,
        *,
        size: int = 256,
        at_once: int = 4,
        retries: int = 3,
        output: str | Path | None = None,
        skip: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """The predictions for many rows, in parts of ``size``, ``at_once`` at a time.

        Args:
            rows: an array, a list of rows, a DataFrame, or the path of a ``.npy``, ``.csv`` or ``.jsonl`` file.
            size: rows of one request.
            at_once: requests at a time.
            retries: how often a part that reached no model is sent again.
            output: a folder that keeps what has come; run again, only what is missing is asked.
            skip: leave out the rows that the model refuses: what they are predicted is missing (NaN, or None), and a
                warning says which they are and why.
            progress: told how many parts are done, and of how many.

        Raises:
            PredictionError: the model refused a part, or it failed each time; says which rows.
            UsageError: the rows cannot be read, or the folder has answers of other models.
        """
        if at_once < 1:
            raise UsageError(f"at_once is {at_once}; it is the number of requests at a time")

        known = endpoints.columns(self._obj)

        def again(part: Any) -> messages.Sent:
            return messages.request(part, protocol=self.protocol, model=self.name, known=known)

        wanted = batches.parts_of(rows, again, size)
        folder = None if output is None else Path(output)
        if folder is not None:
            batches.claim(folder, self._answering())
        found: dict[int, list[batches.Piece]] = {}

        def work(client: Client) -> Any:
            async def ask(sent: messages.Sent) -> bytes:
                return (await self._way.ask(client, self._obj, sent.path, sent.body, again=True)).content

            return batches.Batch(ask, again, asyncio.Semaphore(at_once), retries, folder, skip).run(wanted)

        for number, pieces in self._session.iterate(work):
            found[number] = pieces
            if progress is not None:
                progress(len(found), len(wanted))
        every = [piece for number in range(len(wanted)) for piece in found[number]]
        if lost := [piece for piece in every if piece.why]:
            said = "\n".join(piece.why for piece in lost[:5])
            warnings.warn(f"{len(lost)} rows were refused and have no prediction:\n{said}", UserWarning, stacklevel=2)
        return batches.joined([(piece.part, self._value(piece)) for piece in every])

    def _value(self, piece: batches.Piece) -> Any:
        if piece.why:
            return None
        return messages.answer(piece.content, piece.part.sent, protocol=self.protocol).value

    def _answering(self) -> dict[str, Any]:
        """Which models answer, to tell their answers from others'."""
        now = self._read()
        live = [name for name, share in endpoints.weights(now).items() if share]
        models = {name: endpoints.provenance(endpoints.versions(now)[name]).get("model") for name in live}
        return {"endpoint": f"{self.namespace}/{self.name}", "models": models}

    def feedback(self, reward: float | None = None, *, truth: Any = None, answer: Answer | None = None) -> None:
        """Tell how good an answer was, or what would have been right; the last one's when none is given.

        Routers learn from it which branch does well. It goes to the version that gave the answer, is sent once, and
        never again by itself.

        Raises:
            UsageError: there was no answer yet, its version is gone, or the protocol knows no feedback.
            PredictionError: a unit did not take it.
        """
        if self.protocol != "seldon":
            raise UsageError(f"{self.name} speaks {self.protocol}, which knows no feedback", hint="serve with seldon")
        if reward is None and truth is None:
            raise UsageError("a feedback is a reward or a truth", hint="for example endpoint.feedback(reward=1.0)")
        about = answer or self._last
        if about is None:
            raise UsageError("there is no answer yet that it could be about", hint="predict first, or give answer=")
        body = messages.feedback(about.request, about.response, reward, truth)
        shares = endpoints.weights(self._read())
        if about.version and about.version not in endpoints.versions(self._obj):
            raise UsageError(f"{about.version}, which gave this answer, is not there any more")
        # The gateway would divide feedback as it divides requests, and tell another version of the answer.
        to = "" if shares.get(about.version) == endpoints.ALL else about.version
        self._session.run(
            lambda client: self._way.ask(client, self._obj, "api/v1.0/feedback", body, again=False, version=to)
        )

    # Changes

    def wait(self, timeout: float = _TIMEOUT) -> Endpoint:
        """Wait until all versions are ready; they then get the traffic that is meant for them.

        Raises:
            EndpointNotReadyError: one does not come up; says why. What served before serves on.
        """
        *_, seen = self.coming(timeout)
        if seen.restless:
            warnings.warn(seen.restless, UserWarning, stacklevel=2)
        return self

    def coming(self, timeout: float = _TIMEOUT) -> Iterator[EndpointView]:
        """As :meth:`wait`, with how it is, now and whenever that is another way.

        Raises:
            EndpointNotReadyError: one does not come up.
        """
        steps = self._session.iterate(
            lambda client: rollout.coming(client, self._obj, self._way, self._author, timeout=timeout)
        )
        for now, seen in steps:
            self._obj = now
            yield seen

    def traffic(self, shares: Mapping[str, int] | None = None, /, **more: int) -> Endpoint:
        """Divide the requests: ``traffic(v1=90, v2=10)``. Versions that are not named get none.

        Raises:
            UsageError: a version is unknown, is not ready, or the percentages do not sum to 100.
        """
        wanted = {**(shares or {}), **more}
        return self._make(lambda client, now: changes.divide(client, now, wanted))

    def promote(self, version: str, *, keep: bool = False, timeout: float = _TIMEOUT) -> Endpoint:
        """Let one version answer everything, and take the others away (or keep them without requests).

        Raises:
            UsageError: there is no such version, or it is not ready.
        """
        return self._make(lambda client, now: changes.promote(client, now, version, keep=keep), timeout)

    def rollback(self, to: int | None = None, *, timeout: float = _TIMEOUT) -> Endpoint:
        """Go back to how it was before requests were last divided in another way, or to a revision of its history.

        Raises:
            UsageError: there is nothing to go back to.
            EndpointNotReadyError: a version of then does not come up; requests are answered as before.
        """
        return self._make(lambda client, now: changes.roll_back(client, now, to), timeout)

    def mirror(self, version: str, percent: int = 100) -> Endpoint:
        """Let a version see copies of so many percent of the requests; its answers are dropped. 0 ends it."""
        return self._make(lambda client, now: changes.mirror(client, now, version, percent))

    def scale(
        self, replicas: int | str | Sequence[int], *versions: str, rps: float | None = None, timeout: float = _TIMEOUT
    ) -> Endpoint:
        """Give its versions another number of servers: ``scale(2)``, or ``scale((1, 4))`` to have load decide.

        Args:
            replicas: a number, or from how many to how many.
            versions: which versions; all where none is named.
            rps: requests per second that each server is to have; by CPU without.
            timeout: seconds to wait until there are so many.

        Raises:
            UsageError: there is no such version, or it cannot be scaled so.
        """
        asked = scaling.wanted(replicas, rps)
        return self._scale(lambda now: replace(asked, idle=now.idle), versions, timeout)

    def sleep_after(self, idle: float | str | None, *versions: str, timeout: float = _TIMEOUT) -> Endpoint:
        """Have no servers after so long without a request: ``sleep_after("5m")``; ``sleep_after(None)`` keeps them.

        The next request starts them, and is held until one is ready. Where nothing on the cluster holds requests the
        servers stay, and that is told.

        Args:
            idle: seconds, or a time such as ``"5m"``.
            versions: which versions; all where none is named.
            timeout: seconds to wait until it is so.

        Raises:
            UsageError: there is no such version, or it cannot go to sleep.
            ClusterError: KEDA would take the servers, and nothing would bring them back.
        """
        asked = scaling.wanted(1, None, idle)
        if idle is not None:
            self._session.run(rollout.refuse_keda)
        return self._scale(lambda now: replace(now, idle=asked.idle), versions, timeout)

    def _scale(self, wanted: Callable[[Scaling], Scaling], versions: Sequence[str], timeout: float) -> Endpoint:
        async def work_out(_: Client, now: Obj) -> changes.Change:
            return changes.scale(now, wanted, versions)

        return self._make(work_out, timeout).wait(timeout)

    def ab_test(self, first: str, second: str, *, share: int = 50) -> Endpoint:
        """Divide the requests between two versions; ``share`` percent go to the second.

        Compare them by :meth:`metrics` and by the rewards that :meth:`feedback` brought.
        """
        if first == second:
            raise UsageError(f"{first} cannot be compared with itself", hint="name two versions")
        wanted, cause = {first: 100 - share, second: share}, f"A/B test of {first} and {second}"
        return self._make(lambda client, now: changes.divide(client, now, wanted, cause))

    def bandit(
        self,
        *versions: str,
        algorithm: str = "epsilon-greedy",
        name: str = "bandit",
        volume: str | None = None,
        timeout: float = _TIMEOUT,
        **settings: float | str,
    ) -> Endpoint:
        """Let a router choose between versions, and learn by :meth:`feedback` which does best; it gets all requests.

        Args:
            versions: at least two.
            algorithm: epsilon-greedy, thompson, ucb, or linucb, which looks at the rows that are asked.
            name: the name of the version that routes.
            volume: a volume claim that keeps what was learnt when the pod goes; a restart forgets nothing anyway.
            timeout: seconds to wait until it answers.
            settings: the algorithm's own, such as ``epsilon=0.05`` or ``seed=1``.

        Raises:
            UsageError: a version is unknown, or there is no such algorithm.
            EndpointNotReadyError: it does not come up; requests are answered as before.
        """
        now = self._read()
        self._session.run(lambda client: changes.refuse_unready(client, now, {}))
        plan = routers.make(
            now,
            versions,
            algorithm=algorithm,
            version=name,
            settings=settings,
            volume=volume,
            submission=uuid.uuid4().hex[:12],
            runtime=shipping.runtime(),
        )
        self._obj = self._session.run(lambda client: rollout.submit(client, plan, self._author))
        return self.wait(timeout)

    # Monitoring

    def monitor(
        self,
        reference: Any,
        *,
        sample: float = 1.0,
        window: int = 1000,
        alpha: float = 0.001,
        effect: float = 0.1,
        outliers: bool = True,
        groups: str | None = None,
        labels: Any = None,
        timeout: float = _TIMEOUT,
    ) -> Endpoint:
        """Watch whether requests and answers stay like a reference, in a process of its own beside the endpoint.

        It gets copies, off the requests' path: when it is away or slow, copies are dropped and counted, no request is.
        Alarms are events on the endpoint. Called again, it begins anew with another reference. Rows of the reference
        travel to the cluster.

        Args:
            reference: the rows that the model was trained with, as it takes them: a DataFrame, an array or a list.
            sample: the share of the requests that is copied, above 0 and at most 1.
            window: how many of the last rows are compared.
            alpha: how likely a false alarm may be at one look, over all features together.
            effect: the least difference that is worth an alarm, from 0 to 1.
            outliers: whether single rows are looked at, too, that lie far from the reference's numbers.
            groups: the column of the reference whose groups are to be answered alike.
            labels: what is right for each row of the reference, by which :meth:`feedback` that tells a ``truth`` is
                judged; without, the share of right answers is told and never an alarm.
            timeout: seconds to wait until it watches.

        Raises:
            UsageError: the reference is not one for this model; nothing was created.
            EndpointNotReadyError: the monitor does not come up; the endpoint is as it was.
        """
        settings = references.check_settings(sample=sample, window=window, alpha=alpha, effect=effect)
        now = self._read()
        monitors.check(now)
        told = references.read(reference, self.provenance())
        if groups is not None:
            references.check_group(told, groups)
        asked = told.places(_ASKED)
        try:
            answer = self.ask(told.some(asked))
        except PredictionError as error:
            raise UsageError(
                f"the model does not take the rows of the reference: {error.message}",
                hint="give the rows that it was trained with, as predict takes them",
            ) from error
        more: dict[str, Any] = {"outliers": references.outliers(told) if outliers else None}
        if groups is not None:
            more |= {"group": groups, "gap": references.gap(told, groups, answer.value, answer.names, asked)}
        if labels is not None:
            more["right"] = references.right(answer.value, answer.names, labels, asked, len(told.rows))
        plan = references.dump(told, references.predictions(answer.value, answer.names), {**settings, **more})
        example = references.example(told, self.provenance())
        self._obj, note = self._session.run(
            lambda client: monitors.begin(
                client, now, plan, sample=sample, example=example, who=self._author, timeout=timeout
            )
        )
        if note:
            warnings.warn(note, UserWarning, stacklevel=2)
        return self

    def findings(self) -> findings.Findings:
        """What the monitor found: each feature and the predictions against the reference, alarms, and what was dropped.

        Raises:
            EndpointError: there is no monitor, or it does not answer.
        """
        now = self._read()
        return self._session.run(lambda client: findings.read(client, now))

    def end_monitoring(self, *, timeout: float = _TIMEOUT) -> Endpoint:
        """Send no more copies, and take the monitor away."""
        now = self._read()
        self._obj = self._session.run(lambda client: monitors.end(client, now, who=self._author, timeout=timeout))
        return self

    def remove(self, version: str) -> Endpoint:
        """Take a version away that answers no requests."""
        return self._make(lambda client, now: changes.remove(client, now, version))

    def delete(self) -> None:
        """Delete it, with all its versions, their code and its history."""
        uid = str(meta(self._obj).get("uid", ""))
        self._session.run(lambda client: client.delete(rollout.KIND, self.namespace, self.name, uid=uid))

    def diff(self, to: int) -> str:
        """What is different between a revision and now, as a unified diff."""
        now = self._read()
        told = next((one for one in self.history() if one.number == to), None)
        if told is None:
            raise UsageError(f"{self.ref} has no revision {to}")
        return difference({"spec": dict(told.spec)}, now)

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share} %" for name, share in endpoints.weights(self._obj).items())
        return f"<Endpoint {self.namespace}/{self.name}: {shares}>"

    # Helpers

    @property
    def _author(self) -> Author:
        return rollout.author(self._session.settings)

    def _read(self) -> Obj:
        """The endpoint as it is now; another one that took its name is not it."""
        now = self._session.run(self._found)
        if meta(now).get("uid") != meta(self._obj).get("uid"):
            raise NotFoundError(
                f"{self.ref} was deleted, and another endpoint has its name",
                hint=f"jupyterlab_kf.endpoint({self.name!r}) is the other one",
                ref=self.ref,
            )
        self._obj = now
        return now

    async def _found(self, client: Client) -> Obj:
        """What has its name now.

        Raises:
            NotFoundError: nothing.
        """
        found = await rollout.find(client, self.namespace, self.name)
        if found is None:
            raise rollout.gone(self._obj)
        return found

    async def _look(self, client: Client) -> EndpointView:
        now = await self._found(client)
        await self._way.find(client)
        return replace(await states.look(client, now), divided=self._way.divided)

    def _make(
        self, work_out: Callable[[Client, Obj], Awaitable[changes.Change]], timeout: float = _TIMEOUT
    ) -> Endpoint:
        now = self._read()

        async def work(client: Client) -> Obj:
            change = await work_out(client, now)
            return await changes.make(client, change, way=self._way, who=self._author, timeout=timeout)

        self._obj = self._session.run(work)
        return self
