"""When something is said, and when again. Pure.

One alarm a reason names all that it is about: a table of a thousand features makes one event and not a thousand. It is
said when it begins, when something new joins, and again after a while as long as it goes on; two of one reason are
never nearer than a minute. When all is well again, that is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .judging import ACCURACY, BIAS, FEATURE, OUTLIERS, PREDICTION, Finding

NEAREST = 60.0
NAMED = 5
REASONS = {
    FEATURE: "FeatureDrift",
    PREDICTION: "PredictionDrift",
    OUTLIERS: "Outliers",
    ACCURACY: "AccuracyDrop",
    BIAS: "GroupBias",
}
_WORDS = {
    FEATURE: ("feature", "features", "differ from the reference"),
    PREDICTION: ("version", "versions", "gave other answers than for the reference"),
}


def _outliers(found: Finding) -> str:
    return f"{found.value:.0%} of the last {found.rows} rows are unlike the reference, of which {found.usual:.0%} are"


def _accuracy(found: Finding) -> str:
    rows, now, usual = found.rows, found.value or 0.0, found.usual or 0.0
    if found.test == "ks":
        return f"{found.name}: the mean error of the last {rows} answers is {now:.3g}, it was {usual:.3g}"
    return f"{found.name}: {now:.0%} of the last {rows} answers were right, of the reference {usual:.0%}"


def _bias(found: Finding) -> str:
    groups = ", ".join(
        f"{group} {share:.3g}" for group, share in list(zip(found.edges, found.seen, strict=True))[:NAMED]
    )
    usual = "" if found.usual is None else f", in the reference {found.usual:.2f}"
    answer = f"{found.answer}: " if found.answer else ""
    gap = f"(gap {found.value:.2f}{usual})"
    rows = f"the last {found.rows} rows were looked at"
    return f"{found.name}: groups are not answered alike {gap}: {answer}{groups}; {rows}"


_SAID: dict[str, Callable[[Finding], str]] = {OUTLIERS: _outliers, ACCURACY: _accuracy, BIAS: _bias}
_TESTS = {"ks": "distance", "chi2": "shift"}


@dataclass(frozen=True)
class Alarm:
    """What is to be said; ``again`` where it was said before in the same words."""

    type: str
    reason: str
    message: str
    again: bool = False


@dataclass(frozen=True)
class _Said:
    names: frozenset[str]
    when: float
    message: str


class Alarms:
    """What was said so far."""

    def __init__(self, repeat: float) -> None:
        self._repeat = repeat
        self._said: dict[str, _Said] = {}

    def update(self, findings: Sequence[Finding], now: float) -> list[Alarm]:
        """What is to be said after a look at ``now`` (seconds)."""
        made: list[Alarm] = []
        for about, reason in REASONS.items():
            looked = [one for one in findings if one.about == about]
            loud = [one for one in looked if one.alarm]
            names = frozenset(one.name for one in loud)
            before = self._said.get(reason)
            if not loud:
                if before is not None and looked and now - before.when >= NEAREST:
                    del self._said[reason]
                    made.append(Alarm("Normal", f"{reason}Ended", f"it was: {before.message}"))
                continue
            fresh = before is None or not names <= before.names
            if before is not None and now - before.when < (NEAREST if fresh else self._repeat):
                continue
            message = before.message if before is not None and not fresh else sentence(about, loud, len(looked))
            self._said[reason] = _Said(names if before is None else names | before.names, now, message)
            made.append(Alarm("Warning", reason, message, again=not fresh))
        return made


def sentence(about: str, loud: Sequence[Finding], looked: int) -> str:
    """What is wrong, the worst first."""
    if about in _SAID:
        return "; ".join(_SAID[about](found) for found in loud[:NAMED])
    one, many, what = _WORDS[about]
    worst = sorted(loud, key=lambda found: -found.size)
    named = ", ".join(f"{found.name} ({_TESTS[found.test]} {found.size:.2f})" for found in worst[:NAMED])
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    rows = min(found.rows for found in loud)
    noun = one if looked == 1 else many
    return f"{len(loud)} of {looked} {noun} {what}: {named}{more}; the last {rows} rows were looked at"
