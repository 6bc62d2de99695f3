"""What a monitor found, read through the API server from its own page, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, EndpointError, NotFoundError, UsageError
from jupyterlab_kf.manifests import monitors
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services.serving import measures

_SECONDS: Final = 10.0
_COLUMNS: Final = ("about", "name", "alarm", "changed", "size", "p", "rows", "value", "usual", "test")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was compared.

    Attributes:
        about: feature, prediction, outliers, accuracy or bias.
        name: which feature; else which version's.
        test: ks (Kolmogorov and Smirnov, for numbers), chi2 (Pearson's, for categories) or binomial (for shares).
        size: how large the difference is, from 0 to 1: the largest distance of the distribution functions, or the share
            of rows that would have to change their category.
        p: how likely as large a difference would be by chance, corrected for all features that are tested at once.
        rows: how many of the last rows were looked at.
        alarm: whether it is an alarm.
        edges: bounds of the histogram's bins; of categories, their names.
        expected: the reference's share in each bin.
        seen: the share of the rows that were looked at; of bias, the share or mean of each group.
        value: the share of outliers or of right answers, the mean error, or the gap between groups; else None.
        usual: the same of the reference, where that is known.
        answer: of bias, the answer whose shares differ most.
        changed: whether it differs by more than chance and is no alarm all the same: by less than is worth one, or for
            the better.
    """

    about: str
    name: str
    test: str
    size: float
    p: float
    rows: int
    alarm: bool = False
    edges: tuple[float | str, ...] = field(default=(), repr=False)
    expected: tuple[float, ...] = field(default=(), repr=False)
    seen: tuple[float, ...] = field(default=(), repr=False)
    value: float | None = None
    usual: float | None = None
    answer: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """An alarm that was said, when (epoch seconds)."""

    when: float
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a monitor knows at one moment.

    Attributes:
        findings: what was compared; nothing before there are rows enough.
        alarms: what was said last, oldest first.
        rows: how many rows came since the monitor began.
        copies: how many copies of requests and answers it could use.
        unread: how many it could not read; ``why`` says it of the last one.
        dropped: how many copies never left the servers, since the monitor was away or slow.
        sample: the share of the requests that is copied.
        window: how many of the last rows are looked at.
        least: how many rows it takes to say anything.
        effect: the least difference that is worth an alarm.
        trouble: why alarms cannot be told as events.
        left: columns that are not watched, with the reason.
        started: when it began, in epoch seconds: what it knew before is gone.
    """

    findings: tuple[Finding, ...] = ()
    alarms: tuple[Said, ...] = ()
    rows: int = 0
    copies: int = 0
    unread: int = 0
    why: str = ""
    dropped: int = 0
    sample: float = 1.0
    window: int = 0
    least: int = 0
    effect: float = 0.0
    trouble: str = ""
    left: Mapping[str, str] = field(default_factory=dict)
    started: float = 0.0

    @property
    def drifted(self) -> tuple[str, ...]:
        """The features that differ from the reference, the worst first."""
        loud = [one for one in self.findings if one.alarm and one.about == "feature"]
        return tuple(one.name for one in sorted(loud, key=lambda one: -one.size))

    def frame(self) -> Any:
        """The findings as a DataFrame, one a row.

        Raises:
            UsageError: pandas is not there.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UsageError("a table needs pandas, which is not installed", hint="look at .findings") from None
        return pd.DataFrame([[getattr(one, key) for key in _COLUMNS] for one in self.findings], columns=list(_COLUMNS))


def of(told: Mapping[str, Any], dropped: int = 0) -> Findings:
    """What a monitor's page says."""
    counts, plan = told["counts"], told["plan"]
    return Findings(
        findings=tuple(_finding(one, float(plan.get("alpha") or 0.0)) for one in told["findings"]),
        alarms=tuple(
            Said(float(one["when"]), str(one["type"]), str(one["reason"]), str(one["message"]))
            for one in told["alarms"]
        ),
        rows=int(counts["rows"]),
        copies=int(counts["copies"]),
        unread=int(counts["unread"]),
        why=str(counts.get("why") or ""),
        dropped=dropped,
        sample=float(plan["sample"]),
        window=int(plan["window"]),
        least=int(plan["least"]),
        effect=float(plan.get("effect") or 0.0),
        trouble=str(told.get("trouble") or ""),
        left=dict(plan.get("left") or {}),
        started=float(told["started"]),
    )


def _finding(told: Mapping[str, Any], alpha: float) -> Finding:
    usual = float(told.get("usual") or 0.0)
    # Groups that were never answered alike are nothing new.
    alike = told["about"] == "bias" and float(told["size"]) <= usual
    lists = {key: tuple(told.get(key) or ()) for key in ("edges", "expected", "seen")}
    return Finding(
        about=str(told["about"]),
        name=str(told["name"]),
        test=str(told["test"]),
        size=float(told["size"]),
        p=float(told["p"]),
        rows=int(told["rows"]),
        alarm=bool(told["alarm"]),
        value=told.get("value"),
        usual=told.get("usual"),
        answer=str(told.get("answer") or ""),
        changed=bool(told["test"]) and not told["alarm"] and float(told["p"]) < alpha and not alike,
        **lists,
    )


async def read(client: Client, endpoint: Obj, measured: Sequence[measures.Measures] | None = None) -> Findings:
    """What the monitor of an endpoint found.

    Raises:
        EndpointError: it has none, or it does not answer.
    """
    head = meta(endpoint)
    ref = Ref.of(endpoint)
    try:
        reply = await client.proxy(
            str(head["namespace"]), monitors.name_of(str(head["name"])), "http", "/findings", seconds=_SECONDS
        )
    except NotFoundError as error:
        raise EndpointError(
            f"{ref} is not monitored", hint="begin with endpoint.monitor(reference=X_train)", ref=ref
        ) from error
    except ApiError as error:
        raise EndpointError(
            f"the monitor of {ref} does not answer: {error.message}; requests are served as ever, copies are dropped",
            hint="it is started again by itself; try again in a moment",
            ref=ref,
        ) from error
    if reply.status >= 400:  # noqa: PLR2004  success
        raise EndpointError(f"the monitor of {ref} answered {reply.status}", ref=ref)
    every = (await measures.read(client, endpoint)).values() if measured is None else measured
    return of(json.loads(reply.content), sum(one.lost for one in every))
