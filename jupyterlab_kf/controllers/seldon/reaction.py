"""One look at a SeldonDeployment: what is missing is made, what is ready is completed, what is not needed goes.

The order is the operator's: Services, autoscalers and budgets, Deployments; and only when every Deployment is ready the
routes, and the removal of what earlier versions of the object needed. So a version that never becomes ready changes
nothing for who asks, and the status says why it is not. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Create, SetStatus, View, sleep
from jupyterlab_kf.controllers.bringing import Bringing, ComponentError, differences, is_note, troubles
from jupyterlab_kf.controllers.bringing.conditions import mark
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import conditions, names
from jupyterlab_kf.controllers.seldon.components import Components, components
from jupyterlab_kf.controllers.seldon.defaults import defaulted
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.controllers.support import condition, emitter, is_owned, name, namespace, terminating, uid
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels, meta

SOURCE: Final = "seldon-controller-manager"
STUCK: Final = "Deployment is no longer progressing and not available."
_EVENTS: Final = {
    kinds.SERVICE: "Service",
    kinds.DEPLOYMENT: "Deployment",
    kinds.HORIZONTAL_POD_AUTOSCALER: "HPA",
    kinds.POD_DISRUPTION_BUDGET: "PDB",
    kinds.VIRTUAL_SERVICE: "VirtualService",
    kinds.DESTINATION_RULE: "DestinationRule",
}


class Reaction:
    """What brings one SeldonDeployment closer to what it asks for.

    Args:
        obj: the object.
        view: the cluster.
        now: epoch seconds.
        options: the installation.
    """

    def __init__(self, obj: Obj, view: View, now: float, options: Options) -> None:
        self.obj, self.view, self.now, self.options = obj, view, now, options
        self.status: Obj = copied(obj.get("status") or {})
        self.kind = kinds.of(str(obj["apiVersion"]), str(obj["kind"]))
        self.emit = emitter(self.kind, obj, SOURCE)
        self.actions: list[Action] = []
        self.bringing = Bringing(obj, view, self.actions, told=self._told, adopts=True)

    def run(self) -> list[Action]:
        """The actions; none when all is as it should be."""
        try:
            wanted = components(defaulted(self.obj, self.options), self.options)
            self._look(wanted)
        except ComponentError as error:
            return self._fail(error.message)
        return self._answer()

    def _fail(self, why: str) -> list[Action]:
        if self.status.get("description") != why:
            self.actions.append(self.emit.warning("InternalError", why))
        self.status |= {"state": "Failed", "description": why}
        return self._answer()

    def _answer(self) -> list[Action]:
        before = self.obj.get("status") or {}
        if self.status == before:
            return self.actions
        if self.status.get("state") != before.get("state"):
            self.actions.append(self.emit.normal("Updated", f'Updated SeldonDeployment "{name(self.obj)}"'))
        return [*self.actions, SetStatus(self.kind, namespace(self.obj), name(self.obj), uid(self.obj), self.status)]

    def _look(self, wanted: Components) -> None:
        first = not self.status.get("state")
        services = self._services(wanted)
        autoscalers = self._bring_all(kinds.HORIZONTAL_POD_AUTOSCALER, wanted.autoscalers)
        self._mark(conditions.AUTOSCALERS, autoscalers, wanted.autoscalers, "HPAs", "No HPAs defined")
        self._drop_unwanted(kinds.HORIZONTAL_POD_AUTOSCALER, wanted.deployments, wanted.autoscalers)
        mark(self.status, conditions.KEDA, "True", "No KEDA resources defined", self.now)
        budgets = self._bring_all(kinds.POD_DISRUPTION_BUDGET, wanted.budgets)
        self._mark(conditions.BUDGETS, budgets, wanted.budgets, "PDBs", "No PDBs defined")
        self._drop_unwanted(kinds.POD_DISRUPTION_BUDGET, wanted.deployments, wanted.budgets)
        ready, stuck = self._deployments(wanted)
        complete = ready and services
        self._say(conditions.SERVICES, complete, "All services created" if complete else "Not all services created")
        if ready:
            self._complete(wanted)
        if first or any(isinstance(one, Create) and one.kind == kinds.DEPLOYMENT for one in self.actions):
            for path, why in wanted.unsupported:
                self.actions.append(self.emit.warning("Unsupported", f"{path} is not honoured: {why}"))
        conditions.sum_up(self.status, self.now)
        self._state(wanted, stuck, available=complete and autoscalers and budgets)

    def _say(self, type_: str, good: bool, reason: str) -> None:  # noqa: FBT001  a condition's state
        mark(self.status, type_, "True" if good else "False", reason, self.now)

    def _mark(self, type_: str, good: bool, wanted: list[Obj], what: str, none: str) -> None:  # noqa: FBT001  ditto
        reason = f"{what} not ready" if not good else f"All {what} resources ready" if wanted else none
        self._say(type_, good, reason)

    def _state(self, wanted: Components, stuck: str, *, available: bool) -> None:
        if available:
            state, description = "Available", self._asleep(wanted)
        elif stuck:
            state, description = "Failed", stuck
        else:
            state, description = "Creating", self._waits_for(wanted)
        self.status["state"] = state
        self.status.pop("description", None)
        if description:
            self.status["description"] = description

    def _asleep(self, wanted: Components) -> str:
        """Which predictors have no replicas until they are asked."""
        found = [self.view.get(kinds.DEPLOYMENT, namespace(self.obj), name(one)) for one in wanted.deployments]
        names_of = [name(one) for one in found if one is not None and sleep.is_asleep(one)]
        if not names_of:
            return ""
        return sleep.ASLEEP if len(names_of) == len(found) else f"{', '.join(names_of)}: {sleep.ASLEEP}"

    # --- objects ------------------------------------------------------------------------------------------------------

    def _told(self, verb: str, kind: Kind, title: str) -> None:
        past = {"Create": "Created", "Update": "Updated", "Delete": "Deleted"}[verb]
        self.actions.append(self.emit.normal(f"{verb}{_EVENTS[kind]}", f'{past} {kind.kind} "{title}"'))

    def _bring_all(self, kind: Kind, wanted: Iterable[Obj]) -> bool:
        """Bring each object to what it should be; whether all were so already."""
        there = [self.bringing.bring(kind, one) is not None for one in wanted]
        return all(there)

    def _drop_unwanted(self, kind: Kind, deployments: list[Obj], wanted: list[Obj]) -> None:
        """Autoscalers and budgets of Deployments that stay and have none any more."""
        stay = {name(one) for one in deployments} - {name(one) for one in wanted}
        for found in self.bringing.owned(kind):
            if name(found) in stay:
                self.bringing.delete(kind, found)

    def _services(self, wanted: Components) -> bool:
        good = True
        for service in wanted.services:
            if self.bringing.bring(kinds.SERVICE, service) is not None:
                self.status["address"] = {"url": wanted.address}
                told = self.status.setdefault("serviceStatus", {})
                told[name(service)] = wanted.details[name(service)]
            else:
                good = False
        return good

    # --- Deployments --------------------------------------------------------------------------------------------------

    def _deployments(self, wanted: Components) -> tuple[bool, str]:
        """Whether all Deployments are ready; and when one will not be any more, why."""
        scaled = {name(one) for one in wanted.autoscalers} | {name(one) for one in wanted.deployments if sleep.of(one)}
        ready, stuck = True, ""
        newest: Mapping[str, Any] = {}
        for deployment in wanted.deployments:
            found = self._deployment(deployment, replicas=name(deployment) not in scaled)
            if found is None:
                ready = False
                continue
            self._count(found, default=wanted.default)
            available = condition(found.get("status") or {}, "Available")
            if not _is_ready(found):
                if ready and available is not None:
                    self._repeat(available)
                ready, stuck = False, stuck or self._stuck(found)
            elif available is not None and str(available["lastTransitionTime"]) > str(
                newest.get("lastTransitionTime", "")
            ):
                newest = available
        if ready and newest:
            self._repeat(newest)
        return ready, stuck

    def _repeat(self, available: Mapping[str, Any]) -> None:
        told = str(available["status"]), str(available.get("reason", ""))
        said = str(available.get("message", ""))
        mark(self.status, conditions.DEPLOYMENTS, *told, self.now, message=said)

    def _deployment(self, wanted: Obj, *, replicas: bool) -> Obj | None:
        """The Deployment, if it is there and as it should be; else what makes it so is done."""
        found = self.bringing.found(kinds.DEPLOYMENT, name(wanted))
        if found is not None and not terminating(found):
            selector = (found["spec"].get("selector") or {}).get("matchLabels")
            if selector != wanted["spec"]["selector"]["matchLabels"]:
                # What it selects cannot be changed; it is made anew when it is gone.
                self.bringing.delete(kinds.DEPLOYMENT, found)
                return None

        def differ(want: Obj, have: Obj) -> Obj | None:
            patch = differences.stored(want, have, replicas=replicas)
            wish = sleep.of(want)
            if patch is not None and not is_note(patch) and sleep.is_asleep(have):
                # What is new should be seen to work; and no autoscaler wakes what nothing puts to sleep any more.
                count = wish.replicas if wish is not None else want["spec"].get("replicas") or 1
                patch = {**patch, "spec": {**patch["spec"], "replicas": count}}
            return patch

        return self.bringing.bring(kinds.DEPLOYMENT, wanted, differ)

    def _count(self, found: Obj, *, default: str) -> None:
        status = found.get("status") or {}
        numbers = {key: int(status[key]) for key in ("replicas", "availableReplicas") if status.get(key)}
        told = self.status.get("deploymentStatus") or {}
        if numbers or name(found) in told:
            self.status["deploymentStatus"] = {**told, name(found): numbers}
        if name(found) == default:
            self.status["replicas"] = numbers.get("replicas", 0)

    def _stuck(self, found: Obj) -> str:
        """Why a Deployment will not become ready, or an empty string while it still may."""
        progressing = condition(found.get("status") or {}, "Progressing")
        if progressing is None or progressing.get("status") != "False":
            return ""
        why = troubles.of(found, self.view) or str(progressing.get("message", ""))
        older = " The version before goes on serving." if self._serves(found) else ""
        return f"{STUCK} {name(found)}: {why}{'' if why.endswith('.') else '.'}{older}"

    def _serves(self, found: Obj) -> bool:
        """Whether something older answers instead: pods of the same Deployment, or another one that is not needed."""
        others = [one for one in self.bringing.owned(kinds.DEPLOYMENT) if name(one) != name(found)]
        return any(int((one.get("status") or {}).get("availableReplicas") or 0) for one in (found, *others))

    def _waits_for(self, wanted: Components) -> str:
        """What is in the way, if a pod says so."""
        for deployment in wanted.deployments:
            found = self.view.get(kinds.DEPLOYMENT, namespace(self.obj), name(deployment))
            why = troubles.of(found, self.view) if found is not None and not _is_ready(found) else ""
            if why:
                return f"Waiting for {name(deployment)}: {why}"
        return ""

    # --- when all are ready -------------------------------------------------------------------------------------------

    def _complete(self, wanted: Components) -> None:
        """Routes, and the removal of what is not needed any more."""
        if self._routes(wanted):
            for kind, needed in (
                (kinds.VIRTUAL_SERVICE, wanted.virtual_services),
                (kinds.DESTINATION_RULE, wanted.destination_rules),
            ):
                self._remove(kind, self.bringing.owned(kind), {name(one) for one in needed})
            if not self._remove_deployments(wanted):
                self._remove_services(wanted)
        mark(self.status, conditions.MAPPINGS, "True", "No Ambassador Mappaings defined", self.now)

    def _routes(self, wanted: Components) -> bool:
        rules = self._bring_all(kinds.DESTINATION_RULE, wanted.destination_rules)
        good = self._bring_all(kinds.VIRTUAL_SERVICE, wanted.virtual_services) and rules
        none = "No VirtualServices defined"
        reason = "All VirtualServices created" if wanted.virtual_services else none
        self._say(conditions.ROUTES, good, reason if good else "Not all VirtualServices created")
        return good

    def _remove(self, kind: Kind, found: list[Obj], needed: set[str]) -> None:
        for one in found:
            if name(one) not in needed:
                self.bringing.delete(kind, one)

    def _remove_deployments(self, wanted: Components) -> bool:
        """Take away Deployments that nothing needs, those with an engine first; whether there were any."""
        needed = {name(one) for one in wanted.deployments}
        old = [one for one in self.bringing.owned(kinds.DEPLOYMENT) if name(one) not in needed]
        engines = [one for one in old if names.LABEL_ORCHESTRATOR in labels(one)]
        for deployment in engines or old:
            self.bringing.delete(kinds.DEPLOYMENT, deployment)
            for kind in (kinds.HORIZONTAL_POD_AUTOSCALER, kinds.POD_DISRUPTION_BUDGET):
                found = self.view.get(kind, namespace(deployment), name(deployment))
                if found is not None and is_owned(found, uid(self.obj)):
                    self.bringing.delete(kind, found)
        told = self.status.get("deploymentStatus") or {}
        left = needed | {name(one) for one in old}
        self.status["deploymentStatus"] = {key: value for key, value in told.items() if key in left}
        return bool(old)

    def _remove_services(self, wanted: Components) -> None:
        self._remove(kinds.SERVICE, self.bringing.owned(kinds.SERVICE), set(wanted.details))
        told = self.status.get("serviceStatus") or {}
        self.status["serviceStatus"] = {key: value for key, value in told.items() if key in wanted.details}


def _is_ready(found: Obj) -> bool:
    """Whether a Deployment's newest version is up, and nothing of it is missing."""
    status, replicas = found.get("status") or {}, found["spec"].get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    if int(status.get("observedGeneration") or 0) < int(meta(found).get("generation") or 1):
        return False
    if int(status.get("updatedReplicas") or 0) < wanted or int(status.get("unavailableReplicas") or 0):
        return False
    return wanted == 0 or int(status.get("readyReplicas") or 0) > 0
