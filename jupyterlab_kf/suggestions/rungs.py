"""Hyperband and ASHA: many trials with little of a resource, the better ones again with more.

Where a trial stands travels in its labels (bracket, rung, the trial it continues), so that the whole state is the
history. Hyperband waits for a rung to end before it promotes; ASHA (asynchronous successive halving) promotes whoever
is among the best of those that have ended. A failed trial is never promoted. After its brackets hyperband begins anew.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from jupyterlab_kf.suggestions import plain
from jupyterlab_kf.suggestions.study import DONE, PENDING, AskError, Point, Seen, Study, Suggested

BRACKET: Final = "jupyterlab-kf.io/bracket"
RUNG: Final = "jupyterlab-kf.io/rung"
PARENT: Final = "jupyterlab-kf.io/continues"


def suggest(study: Study, count: int) -> tuple[list[Suggested], str]:
    """New points, as many as can be started now."""
    plan = _Plan(study)
    found: list[Suggested] = []
    while len(found) < count:
        one = plan.asha(found) if study.algorithm == "asha" else plan.hyperband(found)
        if one is None:
            break
        found.append(one)
    return found, ""


class _Plan:
    """The rungs of a study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.eta = int(study.number("eta", 3))
        self.most = study.number("r_l", 0)
        names = [one.name for one in study.parameters]
        self.place = names.index(study.settings["resource_name"])
        self.resource = study.parameters[self.place]
        least = study.number("min_resource", max(self.resource.low, 1.0) if study.algorithm == "asha" else 1.0)
        if self.most < least:
            raise AskError(f"setting r_l is {self.most:g}; it must be at least {least:g}")
        self.top = int(math.log(self.most / least) / math.log(self.eta) + 1e-9)
        """The number of the last rung: a trial's resource is r_l / eta^(top - rung)."""

    # Hyperband

    def hyperband(self, found: list[Suggested]) -> Suggested | None:
        """The next point of the bracket that is going on; None while its rung has not ended."""
        members = [one for one in self.study.with_pending(found).history if BRACKET in one.labels]
        number = max((int(one.labels[BRACKET]) for one in members), default=0)
        bracket = [one for one in members if int(one.labels[BRACKET]) == number]
        s = self.top - number % (self.top + 1)
        sizes = self._sizes(s)
        rung = max((int(one.labels[RUNG]) for one in bracket), default=0)
        here = [one for one in bracket if int(one.labels[RUNG]) == rung]
        if len(here) < sizes[rung]:
            return self._next(bracket, rung, s, found) if rung else self._fresh(number, 0, s, found)
        if any(one.state == PENDING for one in here):
            return None
        good = sorted((one for one in here if one.state == DONE), key=lambda one: one.loss or 0.0)
        if rung == s or not good:
            return self._fresh(number + 1, 0, self.top - (number + 1) % (self.top + 1), found)
        return self._again(good[0], number, rung + 1, s)

    def _sizes(self, s: int) -> list[int]:
        first = math.ceil((self.top + 1) / (s + 1) * self.eta**s)
        return [max(first // self.eta**i, 1) for i in range(s + 1)]

    def _next(self, bracket: list[Seen], rung: int, s: int, found: list[Suggested]) -> Suggested | None:
        number = int(bracket[0].labels[BRACKET])
        here = [one for one in bracket if int(one.labels[RUNG]) == rung]
        continued = {one.labels.get(PARENT) for one in here}
        below = [one for one in bracket if int(one.labels[RUNG]) == rung - 1 and one.state == DONE]
        good = sorted(below, key=lambda one: one.loss or 0.0)
        one = next((one for one in good if one.name not in continued), None)
        if one is not None:
            return self._again(one, number, rung, s)
        # Too few came through: the rung is what it is.
        if any(member.state == PENDING for member in here):
            return None
        done = sorted((member for member in here if member.state == DONE), key=lambda member: member.loss or 0.0)
        if rung == s or not done:
            return self._fresh(number + 1, 0, self.top - (number + 1) % (self.top + 1), found)
        return self._again(done[0], number, rung + 1, s)

    # ASHA

    def asha(self, found: list[Suggested]) -> Suggested:
        """A promotion from the highest rung that has one to give, or else a new point at the lowest."""
        members = [one for one in self.study.with_pending(found).history if RUNG in one.labels]
        for rung in reversed(range(self.top)):
            here = [one for one in members if int(one.labels[RUNG]) == rung and one.state == DONE]
            ended = sorted(here, key=lambda one: one.loss or 0.0)
            continued = {one.labels.get(PARENT) for one in members if int(one.labels[RUNG]) == rung + 1}
            for one in ended[: len(ended) // self.eta]:
                if one.name not in continued:
                    return self._again(one, 0, rung + 1, self.top)
        return self._fresh(0, 0, self.top, found)

    # Points

    def _fresh(self, number: int, rung: int, s: int, found: list[Suggested]) -> Suggested:
        study = replace(self.study, algorithm="random")
        index = len(self.study.history) + len(found)
        point = self._with_resource(plain.random(study, index, 0), rung, s)
        return Suggested(point, {BRACKET: str(number), RUNG: str(rung)})

    def _again(self, one: Seen, number: int, rung: int, s: int) -> Suggested:
        labels = {BRACKET: str(number), RUNG: str(rung), PARENT: one.name}
        return Suggested(self._with_resource(one.point, rung, s), labels)

    def _with_resource(self, point: Point, rung: int, s: int) -> Point:
        amount = self.most / self.eta ** (s - rung)
        text = str(max(round(amount), 1)) if self.resource.type == "int" else repr(amount)
        return (*point[: self.place], text, *point[self.place + 1 :])
