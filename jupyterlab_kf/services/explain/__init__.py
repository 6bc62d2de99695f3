"""Why a job waits or failed, in one sentence, and what to do about it. Pure: objects, events and log tails in.

``failures`` speaks of what ran (``roots`` finds the failure that explains the others), ``placement`` reads the
scheduler, ``waiting`` owns every other reason why replicas do not run. The same situation gets the same sentence and
cause on every cluster. Says nothing when there is nothing to say.
"""

from __future__ import annotations

from jupyterlab_kf.model import Cause, Explanation, Phase
from jupyterlab_kf.services.explain import failures, placement, waiting
from jupyterlab_kf.services.explain.case import Case, decode_event
from jupyterlab_kf.services.explain.roots import torn, traceback_in

__all__ = ["Case", "decode_event", "explain", "torn", "traceback_in"]


def explain(case: Case) -> Explanation | None:
    """Why the job is not running or did not succeed; None when all is well."""
    if case.status.phase is Phase.SUCCEEDED:
        return None
    if case.status.phase is Phase.SUSPENDED:
        return _suspended(case)
    if case.status.phase is Phase.FAILED:
        return failures.failed(case)
    rules = (
        waiting.invalid,
        waiting.image,
        waiting.config,
        waiting.volume,
        placement.unschedulable,
        waiting.container,
        waiting.refused,
        failures.lost,
        failures.restarted,
        waiting.operator,
        waiting.warning,
    )
    return next((answer for rule in rules if (answer := rule(case)) is not None), None)


def _suspended(case: Case) -> Explanation:
    kind, patch = str(case.job.get("kind", "")).lower(), '{"spec":{"runPolicy":{"suspend":false}}}'
    return Explanation(
        "The job is suspended: its replicas are put aside until somebody resumes it.",
        f"kubectl patch {kind} {case.name} --type merge -p '{patch}'",
        cause=Cause.SUSPENDED,
    )
