"""Serving: a model to an endpoint of the cluster, and the endpoint as an object to hold.

``models`` recognises and saves what is handed over, ``graphs`` says how several become one and ``assembly`` makes units
of them, ``shipping`` and ``plans`` make objects, ``rollout`` creates and changes them without a failed request,
``states`` tells how they are, ``way`` and ``messages`` carry predictions, ``handle`` is what a person holds. Nothing
here decides by where the cluster is.
"""

from __future__ import annotations

import tempfile
import uuid
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyterlab_kf import names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import AlreadyExistsError, NotFoundError, UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.manifests.endpoints import MAX_NAME
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services import contents, jobs, session
from jupyterlab_kf.services.jobs import Job
from jupyterlab_kf.services.plans import taking
from jupyterlab_kf.services.serving import plans, references, registry, rollout, shipping
from jupyterlab_kf.services.serving.assembly import Assembly
from jupyterlab_kf.services.serving.graphs import chain, combine, route, unit
from jupyterlab_kf.services.serving.handle import Endpoint
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.services.serving.plans import ServePlan, ServeRequest
from jupyterlab_kf.services.tuning import Study

__all__ = [
    "Endpoint",
    "ServePlan",
    "ServeRequest",
    "chain",
    "combine",
    "endpoint",
    "endpoints",
    "plan_serve",
    "route",
    "serve",
    "unit",
]


@taking(ServeRequest)
def serve(request: ServeRequest) -> Endpoint:  # noqa: D417  its arguments are the request's fields
    """Serve a model; waits until it answers.

    Args:
        model: a class with a method ``predict(self, X, names)``, a fitted estimator (scikit-learn, XGBoost, PyTorch,
            Keras, ONNX), the path of a saved model, a job whose results have one, a study, whose best trial is run once
            more for its model, or a model that was served before.
        graph: several models in one, made by ``kf.chain``, ``kf.combine`` and ``kf.route``; instead of a model.
        name: the endpoint's name; made from the model's when left out. The same name again adds a version.
        version: the version's name; the next of v1, v2, ... when left out.
        canary: percent of the requests that the new version gets; all of them when left out.
        replicas: how many servers the version has; ``(1, 4)`` to have load decide between these, by their CPU.
        rps: requests per second that each server is to have, by which load is measured instead of by CPU.
        idle: seconds, or a time such as ``"5m"``, without a request after which there are no servers; the next request
            starts them, and is held until one is ready.
        protocol: seldon, v2 (Open Inference) or tensorflow.
        namespace: where it goes; the connection's own when left out.
        profile: name of a hardware profile; what is said beside it wins.
        cpu: CPUs of each server.
        memory: memory of each server.
        gpu: GPUs of each server.
        image: the container image; one with Python, or the model's framework, when left out.
        framework: the kind of model, where that cannot be told: sklearn, xgboost, pytorch, onnx, tensorflow, mlflow.
        params: what the class is made with.
        method: the estimator's method that answers, such as predict_proba; predict when left out.
        path: the model's path in a job's results, where there are several.
        example: an input: its first row is offered where the endpoint is tried out, and a PyTorch module that cannot be
            scripted is traced by it.
        env: environment variables.
        files: further files and folders to ship; the class finds them in its working directory.
        install: packages that the servers install at start unless the image has them: True for those that the model
            and its code import, in the versions that are installed here, or a list of requirements.
        volumes: volume claims to mount, each as ``CLAIM``, ``CLAIM:/PATH`` or ``CLAIM:/PATH:ro``.
        wait: False to return at once; the version then gets its requests when ``endpoint.wait()`` finds it ready.
        timeout: seconds to wait.
        reference: the rows that the model was trained with; the endpoint is then monitored (see ``Endpoint.monitor``).
        filename: the name of source text in tracebacks.
        first_line: the number of its first line in tracebacks.
        root: the folder in which local modules and files are looked up; the working directory when left out.

    Raises:
        UsageError: something about the request is wrong; nothing was created.
        EndpointNotReadyError: the version does not come up; says why. What served before serves on.
    """
    here = session.current()
    made = start(request)
    if not request.wait:
        return Endpoint(here, made._obj)  # noqa: SLF001  the same object
    made.wait(request.timeout)
    return made if request.reference is None else made.monitor(request.reference, timeout=request.timeout)


@taking(ServeRequest)
def begin(request: ServeRequest) -> Endpoint:
    """As :func:`serve`, without waiting; a reference is checked, and nobody monitors yet."""
    return start(request)


def start(request: ServeRequest) -> Endpoint:
    """As :func:`serve`, without waiting."""
    here = session.current()
    request = _named(request)
    served = read(request, train=True)
    if request.reference is not None:
        _check_reference(request, served)
    planned = here.run(lambda client: _planned(client, request, served, here.namespace))
    if planned.inner.notice:
        warnings.warn(planned.inner.notice, FutureWarning, stacklevel=4)
    for gap in planned.gaps:
        warnings.warn(str(gap), UserWarning, stacklevel=4)
    who = rollout.author(here.settings)
    _keep(planned, served, who)
    return Endpoint(here, here.run(lambda client: rollout.submit(client, planned, who)))


def _check_reference(request: ServeRequest, served: Assembly) -> None:
    """Refuse a reference before anything is created that could be refused when all is there."""
    if not request.wait:
        raise UsageError(
            "a reference is asked of the model, which is to be waited for",
            hint="leave wait=False out, or call endpoint.monitor(reference) once it is ready",
        )
    # What a graph takes may be made into something else before its model.
    told = {"columns": served.model.columns, "width": served.model.width} if served.alone else {}
    references.read(request.reference, told)


def _keep(planned: ServePlan, served: Assembly, who: rollout.Author) -> None:
    """Keep what is served; a place that cannot be written is no reason not to serve."""
    told = {"author": who.user, "notebook": who.notebook, "when": who.clock()}
    told["endpoint"] = f"{planned.namespace}/{planned.name} {planned.version}"
    where = registry.place(session.current().settings)
    if where is None:
        return
    try:
        registry.keep(served, planned.inner.bundle.files, where, **told)
    except OSError as error:
        said = error.message if isinstance(error, registry.PlaceError) else error
        warnings.warn(f"the model is served and not kept: {said} (KF_MODELS says where)", UserWarning, stacklevel=5)


@taking(ServeRequest)
def plan_serve(request: ServeRequest) -> ServePlan:
    """What :func:`serve` would create for the same arguments. Creates nothing, and starts no cluster.

    Raises:
        UsageError: something about the request is wrong.
    """
    here = session.current()
    request = _named(request)
    served = read(request)
    found = here.glance(lambda client: _planned(client, request, served, here.namespace))
    return found or _made(request, served, here.namespace, None)


def endpoint(name: str, namespace: str | None = None) -> Endpoint:
    """The endpoint of that name, however it was made.

    Raises:
        NotFoundError: there is none; names the nearest.
    """
    here = session.current()
    space = namespace or here.namespace
    found = here.run(lambda client: rollout.find(client, space, name))
    if found is None:
        known = [one.name for one in endpoints(space)]
        hint = frameworks.nearest(name, known, "the endpoints there are") if known else "there are none"
        raise NotFoundError(f"there is no endpoint {name!r} in namespace {space}", hint=hint)
    return Endpoint(here, found)


def endpoints(namespace: str | None = None) -> list[Endpoint]:
    """The endpoints of a namespace, newest first."""
    here = session.current()
    space = namespace or here.namespace
    try:
        found = here.run(lambda client: client.list(rollout.KIND, space))
    except NotFoundError:  # the cluster does not have this kind
        return []
    found.sort(key=lambda obj: str(meta(obj).get("creationTimestamp") or ""), reverse=True)
    return [Endpoint(here, obj) for obj in found]


def read(request: ServeRequest, *, train: bool = False) -> Assembly:
    """What a request is to have served; jobs' results are fetched for it.

    Args:
        request: what was asked for.
        train: whether a study's best trial may be run once more for its model.

    Raises:
        UsageError: it is none, or not of a kind that can be served.
    """
    return plans.read(request, _trained if train else _model)


def _trained(request: ServeRequest) -> Model:
    """As :func:`_model`; a study's code runs once more with the best trial's values, as a job that keeps files."""
    given: Any = request.model
    if not isinstance(given, Study):
        return _model(request)
    best = given.best_trial
    if best is None:
        raise UsageError(f"no trial of study {given.name} has a value yet", hint="wait for the first")
    try:
        job = given.promote(best.number, output=f"{given.name}-best")
    except AlreadyExistsError:  # it was served before: the same code with the same values
        job = jobs.job(f"{given.name}-t{best.number}", given.namespace)
    return replace(_model(replace(request, model=job)), origin=f"trial {best.number} of study {given.name}")


def _model(request: ServeRequest) -> Model:
    given: Any = request.model
    if isinstance(given, Study):
        raise UsageError(
            f"the trials of study {given.name} keep no files, so there is nothing to plan with",
            hint="kf.serve(study) runs the code once more with the best values and serves the model that it writes; "
            "or promote it first: job = study.promote(output='best')",
        )
    if not isinstance(given, Job):
        return plans.read_model(request)
    with tempfile.TemporaryDirectory(prefix="kf-serve-") as folder:
        place = Path(folder) / given.name
        given.wait().download(place)
        if not any(one.is_file() for one in place.rglob("*")):
            raise UsageError(
                f"{given.ref} has written no files, so there is no model to serve",
                hint="have its code write it: if folder := os.environ.get('KF_OUTPUT'): "
                "joblib.dump(model, f'{folder}/model.joblib')",
            )
        found = plans.read_model(replace(request, model=place / request.path if request.path else place, root=place))
        return replace(found, origin=f"job {given.name}")


def _named(request: ServeRequest) -> ServeRequest:
    """A job's or a study's model has its name: the file's own is mostly ``model``."""
    if request.name is None and isinstance(request.model, Job | Study):
        return replace(request, name=names.slug(request.model.name, limit=MAX_NAME))
    return request


async def _planned(client: Client, request: ServeRequest, served: Assembly, namespace: str) -> ServePlan:
    space = request.namespace or namespace
    first = _made(request, served, namespace, None)
    before = await rollout.find(client, space, first.name)
    planned = _made(request, served, namespace, before) if before else first
    return plans.with_contents(planned, await contents.look(client, planned.inner.spec.image))


def _made(request: ServeRequest, served: Assembly, namespace: str, before: Obj | None) -> ServePlan:
    submission = uuid.uuid4().hex[:12]
    return plans.make(
        request, served, namespace=namespace, submission=submission, before=before, runtime=shipping.runtime()
    )
