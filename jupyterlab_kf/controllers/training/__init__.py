"""The training operator: one controller for each kind of training job, and the checks of its admission webhooks.

Reads kubeflow.org's TFJob, PyTorchJob, MPIJob (v1 and v2beta1), MXJob and ChainerJob; makes pods, services,
ConfigMaps and batch Jobs. Knows nothing of nodes, processes or addresses. Where it differs from the real operator on
purpose, docs/differences.md says so; every other difference is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Controller
from jupyterlab_kf.controllers.training import chainer, mpi_v2
from jupyterlab_kf.controllers.training.common import controller
from jupyterlab_kf.controllers.training.mpi import MPI
from jupyterlab_kf.controllers.training.mxnet import MXNET
from jupyterlab_kf.controllers.training.problems import Problem, aggregate
from jupyterlab_kf.controllers.training.pytorch import PYTORCH
from jupyterlab_kf.controllers.training.tf import TENSORFLOW
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

__all__ = ["CONTROLLERS", "Problem", "aggregate", "denial", "validate"]

CONTROLLERS: Final[tuple[Controller, ...]] = (
    controller(TENSORFLOW),
    controller(PYTORCH),
    controller(MPI, kinds.CONFIG_MAP),
    mpi_v2.CONTROLLER,
    controller(MXNET),
    chainer.CONTROLLER,
)

_VALIDATORS: Final[Mapping[Kind, Callable[[Obj], list[Problem]]]] = {
    kinds.TF_JOB: TENSORFLOW.validate,
    kinds.PYTORCH_JOB: PYTORCH.validate,
    kinds.MPI_JOB: MPI.validate,
    kinds.MPI_JOB_V2: mpi_v2.MPI_V2.validate,
    kinds.MX_JOB: MXNET.validate,
    kinds.CHAINER_JOB: chainer.validate,
}
_WEBHOOKS: Final = frozenset({kinds.TF_JOB, kinds.PYTORCH_JOB})


def validate(kind: Kind, obj: Obj) -> list[Problem]:
    """What admission refuses in a training job: (field, message) pairs, none for a good job or another kind.

    The field is a path such as ``spec.tfReplicaSpecs[Worker].template.spec.containers``; the message reads on from
    it, such as ``Required value: must be specified``. :func:`aggregate` makes the sentence that kubectl shows.
    """
    check = _VALIDATORS.get(kind)
    return check(obj) if check else []


def denial(kind: Kind, obj: Obj) -> str:
    """What the API server answers (403 Forbidden) when the webhook refuses an object; empty when it does not.

    Only TFJob and PyTorchJob have a webhook.
    """
    problems = validate(kind, obj) if kind in _WEBHOOKS else []
    if not problems:
        return ""
    webhook = f"validator.{kind.singular}.training-operator.kubeflow.org"
    return f'admission webhook "{webhook}" denied the request: {aggregate(problems)}'
