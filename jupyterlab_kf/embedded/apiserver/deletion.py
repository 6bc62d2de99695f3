"""What a deletion does to an object: preconditions, grace, finalizers, and when it is over. Pure.

Owns the difference between gone at once and waiting for an end. Refuses to look at other objects: what an owner's end
means for its dependents is the collector's.
"""

from __future__ import annotations

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import failures, resources, rules
from jupyterlab_kf.embedded.apiserver.options import DeleteOptions
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time, parse_time


def check_preconditions(kind: Kind, old: Obj, options: DeleteOptions) -> None:
    """Refuse with 409 what was decided on another object or version."""
    given, name = old["metadata"], old["metadata"]["name"]
    if options.uid and options.uid != given["uid"]:
        raise failures.precondition(
            kind,
            name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({given['uid']}). "
            "The object might have been deleted and then recreated",
        )
    if options.resource_version and options.resource_version != given["resourceVersion"]:
        raise failures.precondition(
            kind,
            name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({given['resourceVersion']}). The object might have been modified",
        )


def ended(obj: Obj, now: float) -> Obj:
    """The object as the answer to a deletion that took it away at once shows it."""
    given = {**obj["metadata"], "deletionTimestamp": format_time(now), "deletionGracePeriodSeconds": 0}
    if given.get("generation") and not obj["metadata"].get("deletionTimestamp"):
        given["generation"] += 1
    return {**obj, "metadata": rules.ordered_meta(given)}


def grace(kind: Kind, old: Obj, options: DeleteOptions) -> int:
    """Seconds a pod is given; only one that runs somewhere gets any."""
    if kind != kinds.POD:
        return 0
    spec, status = old.get("spec") or {}, old.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.grace
    if asked is None:
        own = spec.get("terminationGracePeriodSeconds")
        asked = 30 if own is None else int(own)
    asked = 1 if asked < 0 else asked
    current = old["metadata"].get("deletionGracePeriodSeconds")
    return asked if current is None else min(asked, int(current))


def finalizers(kind: Kind, old: Obj, options: DeleteOptions) -> list[str]:
    """What the object has to wait for: its own finalizers, and those of the way it is deleted."""
    named = [*(old["metadata"].get("finalizers") or ())]
    if kind == kinds.CUSTOM_RESOURCE_DEFINITION and resources.CRD_FINALIZER not in named:
        named.append(resources.CRD_FINALIZER)
    wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
    if not options.propagation:
        return named
    kept = [name for name in named if name not in ("foregroundDeletion", "orphan")]
    return [*kept, wanted] if wanted else kept


def deleting(old: Obj, waits_for: list[str], seconds: int, now: float) -> Obj:
    """The object as it waits for its end; a second deletion may only bring the end nearer."""
    given = dict(old["metadata"])
    started = parse_time(given.get("deletionTimestamp"))
    before = int(given.get("deletionGracePeriodSeconds") or 0)
    begun = now if started is None else started - before
    if started is None and given.get("generation"):
        given["generation"] = int(given["generation"]) + 1
    given["finalizers"] = waits_for
    if started is None or seconds < before:
        given |= {"deletionTimestamp": format_time(begun + seconds), "deletionGracePeriodSeconds": seconds}
    return {**old, "metadata": rules.ordered_meta(given)}


def finished(obj: Obj) -> bool:
    """True when nothing holds a deleted object any more; a namespace is held by its content."""
    given = obj["metadata"]
    if not given.get("deletionTimestamp") or given.get("finalizers") or given.get("deletionGracePeriodSeconds"):
        return False
    return not (obj["kind"] == kinds.NAMESPACE.kind and obj["apiVersion"] == "v1")
