"""The families of controllers that run over a real cluster: what each looks at, needs, and must not meet.

Data and one check; :mod:`.operators` runs them. A family runs where its operator's definitions are and the operator is
not: two would do everything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers import Controller, katib, kserve, seldon
from jupyterlab_kf.controllers.katib.template import LABEL_TRIAL
from jupyterlab_kf.controllers.seldon.names import LABEL_ID
from jupyterlab_kf.errors import ClusterError, ForbiddenError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import meta

TEMPLATES: Final = "katib.kubeflow.org/component=trial-templates"
"""ConfigMaps with this label (Katib's own convention) may hold trial templates; no others are looked at."""
COLLECTED: Final = ("StdOut", "PrometheusMetric", "None")
"""Metrics collectors that work from outside a pod; the others read its files, or push to where Katib's database is.

This process may run anywhere, also where pods cannot reach it, so it does not take what they push.
"""
Watched = tuple[tuple[Kind, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One operator's controllers.

    Attributes:
        name: as on the command line; the Lease is called by it.
        work: what is done, in a word.
        operator: whose controllers these are, and the name of its Deployment.
        needed: definitions that the cluster must have, and where they come from.
        watched: what the controllers look at, each with a label selector.
        make: the controllers, for a cluster that serves all that is watched or some of it.
        optional: kinds that are watched only where the cluster has them.
        collects: whether metrics of pods are read.
        foreign: kinds of another operator that are looked after as well, each with the name of that operator's
            Deployment; not where it runs, or where this account may not list them.
    """

    name: str
    work: str
    operator: tuple[str, str]
    needed: tuple[tuple[Kind, ...], str]
    watched: Watched
    make: Callable[[frozenset[Kind]], Sequence[Controller]]
    optional: frozenset[Kind] = frozenset()
    collects: bool = False
    foreign: Mapping[Kind, str] = field(default_factory=dict)

    @property
    def lease(self) -> str:
        """The name of the Lease that decides who works."""
        return f"jupyterlab-kf-{self.name}"

    async def check(self, client: Client, namespace: str | None = None) -> Watched:
        """What is to be watched on this cluster, in a namespace or all.

        Raises:
            ClusterError: it lacks the definitions, or the operator itself runs there.
        """
        kinds_, whence = self.needed
        missing = [kind.resource for kind in kinds_ if not await client.serves(kind)]
        if missing:
            raise ClusterError(f"this cluster does not have {', '.join(missing)}", hint=f"apply {whence} first")
        title, deployment = self.operator
        try:
            found = await client.list(kinds.DEPLOYMENT, None, fields=f"metadata.name={deployment}")
        except ForbiddenError:  # who may not look everywhere was given one namespace; an administrator knows what runs
            found = []
        if found:
            raise ClusterError(
                f"{title} itself runs in namespace {meta(found[0]).get('namespace')}: two would do everything twice",
                hint=f"delete the Deployment {deployment}, or let {title} do the work",
            )
        there = [one for one in self.watched if one[0] not in self.optional or await client.serves(one[0])]
        for kind, deployment in self.foreign.items():
            if any(one[0] == kind for one in there) and not await _ours(client, kind, deployment, namespace):
                there = [one for one in there if one[0] != kind]
        return tuple(there)


async def _ours(client: Client, kind: Kind, operator: str, namespace: str | None) -> bool:
    """Whether such objects are ours to look after: this account may list them, and their own operator is not there."""
    try:
        await client.list(kind, namespace)
    except ForbiddenError:
        return False
    try:
        return not await client.list(kinds.DEPLOYMENT, None, fields=f"metadata.name={operator}")
    except ForbiddenError:  # who was let look after them in one namespace was let by somebody who knows what runs
        return True


def _katib(_: frozenset[Kind]) -> Sequence[Controller]:
    return [katib.unadmitted(one, COLLECTED) if one.kind == kinds.EXPERIMENT else one for one in katib.CONTROLLERS]


def _serving(there: frozenset[Kind], options: seldon.Options) -> Sequence[Controller]:
    options = replace(options, istio=kinds.VIRTUAL_SERVICE in there)
    found = [seldon.unadmitted(one) for one in seldon.controllers(options) if one.kind == kinds.SELDON_DEPLOYMENT]
    if kinds.INFERENCE_SERVICE in there:
        found.append(kserve.controller(kserve.Options(period=options.period)))
    return found


KATIB: Final = Family(
    name="katib",
    work="studies",
    operator=("Katib", "katib-controller"),
    needed=(kinds.KATIB, "Katib's CustomResourceDefinitions (manifests/v1beta1/components/crd of Katib 0.19)"),
    watched=(
        (kinds.EXPERIMENT, ""),
        (kinds.SUGGESTION, ""),
        (kinds.TRIAL, ""),
        (kinds.POD, LABEL_TRIAL),
        (kinds.CONFIG_MAP, TEMPLATES),
        (kinds.JOB, ""),
    ),
    make=_katib,
    collects=True,
)
SERVING: Final = Family(
    name="serving",
    work="SeldonDeployments and InferenceServices",
    operator=("Seldon's operator", "seldon-controller-manager"),
    needed=(
        (kinds.SELDON_DEPLOYMENT,),
        "Seldon's CustomResourceDefinition (operator/config/crd of Seldon Core 1.17.1)",
    ),
    watched=(
        (kinds.SELDON_DEPLOYMENT, ""),
        (kinds.INFERENCE_SERVICE, ""),
        (kinds.DEPLOYMENT, ""),
        (kinds.SERVICE, ""),
        (kinds.HORIZONTAL_POD_AUTOSCALER, ""),
        (kinds.POD_DISRUPTION_BUDGET, ""),
        (kinds.VIRTUAL_SERVICE, ""),
        (kinds.DESTINATION_RULE, ""),
        (kinds.POD, LABEL_ID),
        (kinds.POD, kserve.LABEL),
    ),
    make=lambda there: _serving(there, seldon.Options()),
    optional=frozenset({kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE, kinds.INFERENCE_SERVICE}),
    foreign={kinds.INFERENCE_SERVICE: "kserve-controller-manager"},
)
FAMILIES: Final = {family.name: family for family in (KATIB, SERVING)}


def serving(*, engine: str = "", engine_cpu: str = "", ready_after: int | None = None) -> Family:
    """Seldon's controllers, installed in another way than Seldon's chart has it.

    Args:
        engine: the image of the engine.
        engine_cpu: what each engine asks for; it may then use more.
        ready_after: seconds after which servers are asked for the first time whether they are ready.
    """
    options = seldon.Options()
    if engine:
        options = replace(options, executor=engine)
    if engine_cpu:
        size = {key: dict(one) for key, one in options.size.items()}
        size["requests"]["cpu"] = engine_cpu
        del size["limits"]["cpu"]
        options = replace(options, size=size)
    if ready_after is not None:
        period = min(options.period, max(1, ready_after))
        options = replace(options, patience=ready_after, period=period)
    return replace(SERVING, make=lambda there: _serving(there, options))
