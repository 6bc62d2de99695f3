"""One look at a SeldonDeployment: what is missing is made, what is ready is completed, what is not needed goes.

The order is the operator's: Services, autoscalers and budgets, Deployments; and only when every Deployment is ready the
routes, and the removal of what earlier versions of the object needed. So a version that never becomes ready changes
nothing for who asks, and the status says why it is not. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Create, Delete, Patch, SetStatus, View, sleep
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import conditions, differences, names, troubles
from jupyterlab_kf.controllers.seldon.components import Components, components
from jupyterlab_kf.controllers.seldon.defaults import defaulted
from jupyterlab_kf.controllers.seldon.faults import ComponentError
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.controllers.support import condition, emitter, is_owned, name, namespace, terminating, uid
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, controller_of, labels, meta

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

Differ = Callable[[Obj, Obj], Obj | None]


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
        autoscalers = self._bring_all(kinds.HORIZONTAL_POD_AUTOSCALER, wanted.autoscalers, differences.stored)
        self._mark(conditions.AUTOSCALERS, autoscalers, wanted.autoscalers, "HPAs", "No HPAs defined")
        self._drop_unwanted(kinds.HORIZONTAL_POD_AUTOSCALER, wanted.deployments, wanted.autoscalers)
        conditions.mark(self.status, conditions.KEDA, "True", "No KEDA resources defined", self.now)
        budgets = self._bring_all(kinds.POD_DISRUPTION_BUDGET, wanted.budgets, differences.stored)
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
        conditions.mark(self.status, type_, "True" if good else "False", reason, self.now)

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

    def _bring_all(self, kind: Kind, wanted: Iterable[Obj], differ: Differ) -> bool:
        """Bring each object to what it should be; whether all were so already."""
        there = [self._bring(kind, one, differ) for one in wanted]
        return all(there)

    def _bring(self, kind: Kind, wanted: Obj, differ: Differ) -> bool:
        found = self._found(kind, name(wanted))
        what, title = _EVENTS[kind], f'{kind.kind} "{name(wanted)}"'
        if found is None:
            self.actions.append(Create(kind, differences.stamped(wanted) if differ is differences.stored else wanted))
            self.actions.append(self.emit.normal(f"Create{what}", f"Created {title}"))
            return False
        if terminating(found):
            return False
        patch = differ(wanted, found)
        if patch is None:
            return True
        self.actions.append(Patch(kind, namespace(found), name(found), uid(found), patch))
        if not _is_note(patch):
            self.actions.append(self.emit.normal(f"Update{what}", f"Updated {title}"))
        return _is_note(patch)

    def _found(self, kind: Kind, title: str) -> Obj | None:
        """The object of that name, if it is not somebody else's."""
        found = self.view.get(kind, namespace(self.obj), title)
        if found is None or is_owned(found, uid(self.obj)):
            return found
        owner = controller_of(found)
        if owner is not None:
            whose = f"{owner.get('kind')} {owner.get('name')}"
            raise ComponentError(f'the {kind.kind} "{title}" that is needed belongs to {whose} already')
        return found

    def _owned(self, kind: Kind) -> list[Obj]:
        return [one for one in self.view.owned(kind, uid(self.obj)) if not terminating(one)]

    def _delete(self, kind: Kind, found: Obj) -> None:
        self.actions.append(Delete(kind, namespace(found), name(found), uid(found)))
        self.actions.append(self.emit.normal(f"Delete{_EVENTS[kind]}", f'Deleted {kind.kind} "{name(found)}"'))

    def _drop_unwanted(self, kind: Kind, deployments: list[Obj], wanted: list[Obj]) -> None:
        """Autoscalers and budgets of Deployments that stay and have none any more."""
        stay = {name(one) for one in deployments} - {name(one) for one in wanted}
        for found in self._owned(kind):
            if name(found) in stay:
                self._delete(kind, found)

    def _services(self, wanted: Components) -> bool:
        good = True
        for service in wanted.services:
            if self._bring(kinds.SERVICE, service, differences.service):
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
        conditions.mark(self.status, conditions.DEPLOYMENTS, *told, self.now, message=said)

    def _deployment(self, wanted: Obj, *, replicas: bool) -> Obj | None:
        """The Deployment, if it is there and as it should be; else what makes it so is done."""
        found = self._found(kinds.DEPLOYMENT, name(wanted))
        if found is not None and not terminating(found):
            selector = (found["spec"].get("selector") or {}).get("matchLabels")
            if selector != wanted["spec"]["selector"]["matchLabels"]:
                # What it selects cannot be changed; it is made anew when it is gone.
                self._delete(kinds.DEPLOYMENT, found)
                return None

        def differ(want: Obj, have: Obj) -> Obj | None:
            patch = differences.stored(want, have, replicas=replicas)
            wish = sleep.of(want)
            if patch is not None and not _is_note(patch) and wish is not None and sleep.is_asleep(have):
                # What is new should be seen to work.
                patch = {**patch, "spec": {**patch["spec"], "replicas": wish.replicas}}
            return patch

        return found if self._bring_deployment(wanted, differ) else None

    def _bring_deployment(self, wanted: Obj, differ: Differ) -> bool:
        if self._found(kinds.DEPLOYMENT, name(wanted)) is None:
            return self._bring(kinds.DEPLOYMENT, wanted, differences.stored)
        return self._bring(kinds.DEPLOYMENT, wanted, differ)

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
        others = [one for one in self._owned(kinds.DEPLOYMENT) if name(one) != name(found)]
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
                self._remove(kind, self._owned(kind), {name(one) for one in needed})
            if not self._remove_deployments(wanted):
                self._remove_services(wanted)
        conditions.mark(self.status, conditions.MAPPINGS, "True", "No Ambassador Mappaings defined", self.now)

    def _routes(self, wanted: Components) -> bool:
        rules = self._bring_all(kinds.DESTINATION_RULE, wanted.destination_rules, differences.exact)
        good = self._bring_all(kinds.VIRTUAL_SERVICE, wanted.virtual_services, differences.exact) and rules
        none = "No VirtualServices defined"
        reason = "All VirtualServices created" if wanted.virtual_services else none
        self._say(conditions.ROUTES, good, reason if good else "Not all VirtualServices created")
        return good

    def _remove(self, kind: Kind, found: list[Obj], needed: set[str]) -> None:
        for one in found:
            if name(one) not in needed:
                self._delete(kind, one)

    def _remove_deployments(self, wanted: Components) -> bool:
        """Take away Deployments that nothing needs, those with an engine first; whether there were any."""
        needed = {name(one) for one in wanted.deployments}
        old = [one for one in self._owned(kinds.DEPLOYMENT) if name(one) not in needed]
        engines = [one for one in old if names.LABEL_ORCHESTRATOR in labels(one)]
        for deployment in engines or old:
            self._delete(kinds.DEPLOYMENT, deployment)
            for kind in (kinds.HORIZONTAL_POD_AUTOSCALER, kinds.POD_DISRUPTION_BUDGET):
                found = self.view.get(kind, namespace(deployment), name(deployment))
                if found is not None and is_owned(found, uid(self.obj)):
                    self._delete(kind, found)
        told = self.status.get("deploymentStatus") or {}
        left = needed | {name(one) for one in old}
        self.status["deploymentStatus"] = {key: value for key, value in told.items() if key in left}
        return bool(old)

    def _remove_services(self, wanted: Components) -> None:
        self._remove(kinds.SERVICE, self._owned(kinds.SERVICE), set(wanted.details))
        told = self.status.get("serviceStatus") or {}
        self.status["serviceStatus"] = {key: value for key, value in told.items() if key in wanted.details}


def _is_note(patch: Obj) -> bool:
    """Whether a patch only notes down what was asked for last."""
    return set(patch) == {"metadata"} and set(patch["metadata"].get("annotations") or ()) == {differences.APPLIED}


def _is_ready(found: Obj) -> bool:
    """Whether a Deployment's newest version is up, and nothing of it is missing."""
    status, replicas = found.get("status") or {}, found["spec"].get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    if int(status.get("observedGeneration") or 0) < int(meta(found).get("generation") or 1):
        return False
    if int(status.get("updatedReplicas") or 0) < wanted or int(status.get("unavailableReplicas") or 0):
        return False
    return wanted == 0 or int(status.get("readyReplicas") or 0) > 0
