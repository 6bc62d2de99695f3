"""How values of the public API look at the end of a cell: a job as its card, a plan as YAML, a cluster as a table.

Registered by name, so that nothing is imported before such a value exists. The values themselves stay plain: services
know no HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyterlab_kf import Cluster, Endpoint, Job, Plan, ServePlan, Study
    from jupyterlab_kf.services.diagnosis import Report
    from jupyterlab_kf.services.serving.messages import Answer


def show_ours(shell: InteractiveShell) -> None:
    """Hand the formatters to IPython."""
    formatter: Any = shell.display_formatter.mimebundle_formatter  # type: ignore[union-attr]  # every shell has one
    formatter.for_type_by_name("jupyterlab_kf.services.jobs", "Job", job)
    formatter.for_type_by_name("jupyterlab_kf.services.plans", "Plan", plan)
    formatter.for_type_by_name("jupyterlab_kf.services.session", "Cluster", cluster)
    formatter.for_type_by_name("jupyterlab_kf.services.tuning", "Study", study)
    formatter.for_type_by_name("jupyterlab_kf.services.doctor", "Report", report)
    formatter.for_type_by_name("jupyterlab_kf.services.serving.handle", "Endpoint", endpoint)
    formatter.for_type_by_name("jupyterlab_kf.services.serving.plans", "ServePlan", serve_plan)
    formatter.for_type_by_name("jupyterlab_kf.services.serving.messages", "Answer", answer)


def job(value: Job, **_: Any) -> dict[str, Any]:
    """The job as it is at this moment."""
    from jupyterlab_kf.widgets.rendered import job_card

    return job_card(value.view()).bundle()


def study(value: Study, **_: Any) -> dict[str, Any]:
    """The study as it is at this moment."""
    from jupyterlab_kf.magics.studies import card

    return card(value).bundle()


def plan(value: Plan, **_: Any) -> dict[str, Any]:
    """What would be created."""
    from jupyterlab_kf.widgets.plans import plan_card

    return plan_card(value.summary, value.yaml()).bundle()


def cluster(value: Cluster, **_: Any) -> dict[str, Any]:
    """The cluster and its machines."""
    from jupyterlab_kf.magics.verbs import cluster_card

    return cluster_card(value).bundle()


def endpoint(value: Endpoint, **_: Any) -> dict[str, Any]:
    """The endpoint as it is at this moment."""
    from jupyterlab_kf.magics.endpoints import card

    return card(value).bundle()


def serve_plan(value: ServePlan, **_: Any) -> dict[str, Any]:
    """What would be created or changed."""
    from jupyterlab_kf.widgets.endpoints import serve_plan_card

    return serve_plan_card(value.summary, value.yaml(), value.diff()).bundle()


def answer(value: Answer, **_: Any) -> dict[str, Any]:
    """A prediction, and who gave it."""
    from jupyterlab_kf.widgets.endpoints import answer_card

    return answer_card(value).bundle()


def report(value: Report, **_: Any) -> dict[str, Any]:
    """What a cluster has and lacks."""
    from jupyterlab_kf.widgets.doctor import report_card

    return report_card(value).bundle()
