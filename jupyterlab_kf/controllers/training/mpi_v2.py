"""MPIJob v2beta1, as mpi-operator has it: worker pods, and a launcher that is a batch Job.

Retries, deadline and time to live are the Job's. On one machine the ranks run beside the launcher, so there is no SSH:
no key pair, no Secret, and a worker whose command would be sshd sleeps instead.
"""
# ruff: noqa: D102  the methods are documented where the base class declares them

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Key, Patch, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    Emitter,
    condition,
    emitter,
    is_owned,
    is_true,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    ready,
    terminating,
    uid,
)
from jupyterlab_kf.controllers.training.framework import (
    GANG_MINIMUM,
    GANG_SIZE,
    INDEX_LABEL,
    JOB_LABEL,
    OPERATOR_LABEL,
    ROLE_LABEL,
    Framework,
    Role,
    TrainingJob,
    add_env,
    count,
    index_of,
)
from jupyterlab_kf.controllers.training.mpi import (
    CONFIG_PATH,
    CONFIG_VOLUME,
    DISCOVER,
    HOSTFILE,
    config,
    config_map,
    mount,
)
from jupyterlab_kf.controllers.training.problems import (
    MANAGERS,
    Problem,
    aggregate,
    containers_of,
    invalid,
    label_1035,
    not_supported,
    replicas,
    required,
    run_policy,
)
from jupyterlab_kf.controllers.training.status import JobStatus
from jupyterlab_kf.model import Obj, controller_of, labels

OPERATOR = "mpi-operator"
_SOURCE = "mpi-job-controller"
_SPECS = "spec.mpiReplicaSpecs"
_IMPLEMENTATIONS = ("Intel", "MPICH", "OpenMPI")
_HOSTS = f"{CONFIG_PATH}/{HOSTFILE}"
_ENVIRONMENT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "OpenMPI": (
        ("OMPI_MCA_orte_keep_fqdn_hostnames", "true"),
        ("OMPI_MCA_orte_default_hostfile", _HOSTS),
        ("PRTE_MCA_prte_default_hostfile", _HOSTS),
        ("OMPI_MCA_plm_rsh_args", "-o ConnectionAttempts=10"),
    ),
    "Intel": (
        ("I_MPI_HYDRA_HOST_FILE", _HOSTS),
        ("I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS", "-o ConnectionAttempts=10"),
    ),
    "MPICH": (("HYDRA_HOST_FILE", _HOSTS), ("HYDRA_LAUNCH_EXTRA_ARGS", "-o ConnectionAttempts=10")),
}
_SLOTS_VARIABLE = {"OpenMPI": "OMPI_MCA_orte_set_default_slots", "Intel": "I_MPI_PERHOST"}
_MESSAGE_LIMIT = 1024


class MpiV2(Framework):
    """How MPIJob v2beta1 is read and checked; its life is in :func:`react`."""

    kind = kinds.MPI_JOB_V2
    field = "mpiReplicaSpecs"
    types = ("Launcher", "Worker")
    container = ""
    restarts = {"Launcher": "OnFailure"}  # noqa: RUF012  declared ClassVar in the base class
    default_replicas = {"Launcher": 1, "Worker": 0}  # noqa: RUF012  declared ClassVar in the base class

    def default(self, job: TrainingJob) -> None:
        job.spec.setdefault("slotsPerWorker", 1)
        job.spec["mpiImplementation"] = job.spec.get("mpiImplementation") or "OpenMPI"
        job.spec["launcherCreationPolicy"] = job.spec.get("launcherCreationPolicy") or "AtStartup"

    def validate(self, obj: Obj) -> list[Problem]:
        spec = obj.get("spec") or {}
        specs: Mapping[str, Any] | None = spec.get(self.field)
        workers = int(((specs or {}).get("Worker") or {}).get("replicas") or 1)
        longest = f"{name(obj)}-worker-{max(workers, 1) - 1}"
        reasons = label_1035(longest)
        problems: list[Problem] = []
        if reasons:
            text = f'will not able to create pod and service with invalid DNS label "{longest}": {", ".join(reasons)}'
            problems.append(invalid("metadata.name", name(obj), text))
        problems += self._specs_problems(specs) + self._policy_problems(spec)
        implementation = spec.get("mpiImplementation") or "OpenMPI"
        if implementation not in _IMPLEMENTATIONS:
            problems.append(not_supported("spec.mpiImplementation", implementation, _IMPLEMENTATIONS))
        return problems

    def _specs_problems(self, specs: Mapping[str, Any] | None) -> list[Problem]:
        if specs is None:
            return [required(_SPECS, "must have replica specs")]
        problems: list[Problem] = []
        if specs.get("Launcher") is None:
            problems.append(required(f"{_SPECS}[Launcher]", "must have Launcher replica spec"))
        for type_ in (t for t in self.types if specs.get(t) is not None):
            path, role = f"{_SPECS}[{type_}]", specs[type_]
            restart = role.get("restartPolicy") or "Never"
            if restart not in ("Never", "OnFailure"):
                problems.append(not_supported(f"{path}.restartPolicy", restart, ("Never", "OnFailure")))
            if not containers_of(role):
                problems.append(required(f"{path}.template.spec.containers", "must define at least one container"))
            given = role.get("replicas")
            if type_ == "Launcher" and given not in (None, 1):
                problems.append(invalid(f"{path}.replicas", given, "must be 1"))
            elif type_ == "Worker" and (given or 0) <= 0:
                problems.append(invalid(f"{path}.replicas", given or 0, "must be greater than or equal to 1"))
            else:
                problems += replicas(path, role)
        return problems

    def _policy_problems(self, spec: Mapping[str, Any]) -> list[Problem]:
        policy = spec.get("runPolicy") or {}
        problems = run_policy(spec)
        clean = policy.get("cleanPodPolicy") or "None"
        if clean not in ("All", "None", "Running"):
            problems.append(not_supported("spec.runPolicy.cleanPodPolicy", clean, ("All", "None", "Running")))
        numbers = [("spec.slotsPerWorker", spec.get("slotsPerWorker"))]
        fields = ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
        numbers += [(f"spec.runPolicy.{f}", policy.get(f)) for f in fields]
        text = "must be greater than or equal to 0"
        return problems + [invalid(path, value, text) for path, value in numbers if value is not None and value < 0]

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        del job, index
        return role.type == "Launcher"

    def leader(self, job: TrainingJob) -> str:
        del job
        return "Launcher"


MPI_V2 = MpiV2()


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings an MPIJob closer to its goal."""
    manager = ((obj.get("spec") or {}).get("runPolicy") or {}).get("managedBy")
    if terminating(obj) or manager not in (None, *MANAGERS[:1], "kubeflow.org/mpi-operator"):
        return []
    return _Reaction(obj, view, now).run()


class _Reaction:
    """One look at one job."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.view = obj, view
        self.job = MPI_V2.read(obj)
        self.status = JobStatus(obj.get("status"), now)
        self.emit: Emitter = emitter(MPI_V2.kind, obj, _SOURCE)
        self.workers = view.owned(kinds.POD, self.job.uid)
        self.actions: list[Action] = []

    def run(self) -> list[Action]:
        self._greet()
        problems = [] if self.status.finished else MPI_V2.validate(self.obj)
        if problems:
            text = _truncate(f"Found validation errors: {aggregate(problems)}")
            self.status.complete()
            self.status.set("Failed", "ValidationError", text)
            self.actions.append(self.emit.warning("ValidationError", text))
        elif not self.status.finished:
            self._live()
        if self.status.finished:
            self._clean_up()
        if self.status.value == (self.obj.get("status") or {}):
            return self.actions
        job = self.job
        return [SetStatus(MPI_V2.kind, job.namespace, job.name, job.uid, self.status.value), *self.actions]

    def _greet(self) -> None:
        text = f"MPIJob {self.job.namespace}/{self.job.name} is created."
        if not self.status.value.get("conditions") and self.status.set("Created", "MPIJobCreated", text):
            self.actions.append(self.emit.normal("MPIJobCreated", text))

    def _clean_up(self) -> None:
        policy = self.job.policy["cleanPodPolicy"]
        if policy != "None":
            self._delete_workers([p for p in self.workers if policy == "All" or phase(p) in ("Running", "Pending")])
            self.status.count("Worker", active=0, succeeded=0, failed=0)

    def _delete_workers(self, pods: Iterable[Obj]) -> None:
        for pod in pods:
            if not terminating(pod):
                self.actions.append(Delete(kinds.POD, self.job.namespace, name(pod), uid(pod)))

    # --- the work -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        suspended = bool(self.job.policy.get("suspend"))
        if not suspended:
            self.status.start()
        launcher = self._launcher()
        if launcher is None or not _job_finished(launcher):
            self._service()
            self.actions += config(MPI_V2.kind, self.job, self.view, self._config_data())
            if not suspended:
                self._create_workers()
            if launcher is None and self._may_launch(suspended=suspended):
                self.actions.append(Create(kinds.JOB, self._new_launcher(suspended=suspended)))
        if launcher is not None and bool((launcher.get("spec") or {}).get("suspend")) != suspended:
            patch = {"spec": {"suspend": suspended}}
            self.actions.append(Patch(kinds.JOB, self.job.namespace, name(launcher), uid(launcher), patch))
        if suspended:
            self._delete_workers(self.workers)
        self._judge(launcher, suspended=suspended)

    def _launcher(self) -> Obj | None:
        found = self.view.get(kinds.JOB, self.job.namespace, f"{self.job.name}-launcher")
        return found if found is not None and is_owned(found, self.job.uid) else None

    def _may_launch(self, *, suspended: bool) -> bool:
        if self.job.spec["launcherCreationPolicy"] == "AtStartup" or suspended:
            return True
        worker = self.job.roles.get("Worker")
        return sum(map(ready, self.workers)) >= (worker.count if worker else 0)

    def _service(self) -> None:
        job = self.job
        if self.view.get(kinds.SERVICE, job.namespace, job.name) is None:
            selector = {OPERATOR_LABEL: OPERATOR, JOB_LABEL: job.name}
            spec = {"clusterIP": "None", "selector": selector}
            metadata = {**self._metadata(job.name), "labels": {"app": job.name}}
            obj = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
            self.actions.append(Create(kinds.SERVICE, obj))

    def _metadata(self, named: str) -> Obj:
        owner = owner_reference(MPI_V2.kind, self.obj)
        return {"name": named, "namespace": self.job.namespace, "ownerReferences": [owner]}

    def _config_data(self) -> dict[str, str]:
        job = self.job
        with_launcher = [f"{job.name}-launcher"] if job.spec.get("runLauncherAsWorker") else []
        worker = job.roles.get("Worker")
        hosts = with_launcher + [f"{job.name}-worker-{i}" for i in range(worker.count if worker else 0)]
        separator = " slots=" if job.spec["mpiImplementation"] == "OpenMPI" else ":"
        domain, slots = f"{job.name}.{job.namespace}.svc", job.spec["slotsPerWorker"]
        up = with_launcher + sorted(name(p) for p in self.workers if phase(p) == "Running")
        return {
            HOSTFILE: "".join(f"{host}.{domain}{separator}{slots}\n" for host in hosts),
            DISCOVER: "#!/bin/sh\n" + "".join(f"echo {host}.{domain}\n" for host in up),
        }

    # --- pods ---------------------------------------------------------------------------------------------------

    def _create_workers(self) -> None:
        worker = self.job.roles.get("Worker")
        if worker is None:
            return
        self._delete_workers([p for p in self.workers if index_of(p) >= worker.count])
        have = {index_of(p) for p in self.workers}
        for index in range(worker.count):
            named = f"{self.job.name}-worker-{index}"
            if index not in have and self.view.get(kinds.POD, self.job.namespace, named) is None:
                self.actions.append(Create(kinds.POD, self._new_worker(worker, named, index)))

    def _new_worker(self, role: Role, named: str, index: int) -> Obj:
        template = self._template(role, named)
        first = template["spec"]["containers"][0]
        if not first.get("command") and not first.get("args"):
            first["command"], first["args"] = ["sleep"], ["365d"]
        add_env(first, ("K_MPI_JOB_ROLE", "worker"))
        search = f"{self.job.name}.{self.job.namespace}.svc.cluster.local"
        dns = template["spec"].setdefault("dnsConfig", {})
        dns["searches"] = [*(dns.get("searches") or ()), search]
        minimum = (self.job.policy.get("schedulingPolicy") or {}).get("minAvailable")
        least = role.count if minimum is None else min(role.count, int(minimum))
        template["metadata"]["labels"][INDEX_LABEL] = str(index)
        template["metadata"]["annotations"] |= {GANG_SIZE: str(role.count), GANG_MINIMUM: str(least)}
        metadata = {**template["metadata"], **self._metadata(named)}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}

    def _template(self, role: Role, hostname: str) -> Obj:
        job, spec = self.job, copied(role.template.get("spec") or {})
        spec["hostname"], spec["subdomain"] = hostname, job.name
        spec["restartPolicy"] = role.restart
        if spec.get("hostNetwork"):
            spec["dnsPolicy"] = "ClusterFirstWithHostNet"
        own = {OPERATOR_LABEL: OPERATOR, JOB_LABEL: job.name, ROLE_LABEL: role.lower}
        metadata = {"labels": {**labels(role.template), **own}, "annotations": dict(notes(role.template))}
        return {"metadata": metadata, "spec": spec}

    def _new_launcher(self, *, suspended: bool) -> Obj:
        job, role = self.job, self.job.roles["Launcher"]
        template = self._template(role, f"{job.name}-launcher")
        kind = job.spec["mpiImplementation"]
        env = [("K_MPI_JOB_ROLE", "launcher"), *_ENVIRONMENT[kind]]
        if kind in _SLOTS_VARIABLE:
            env.append((_SLOTS_VARIABLE[kind], str(job.spec["slotsPerWorker"])))
        if not job.spec.get("runLauncherAsWorker"):
            env += [("NVIDIA_VISIBLE_DEVICES", ""), ("NVIDIA_DRIVER_CAPABILITIES", "")]
        add_env(template["spec"]["containers"][0], *env)
        mount(template["spec"], CONFIG_VOLUME, CONFIG_PATH, config_map(job, (HOSTFILE, 0o444), (DISCOVER, 0o555)))
        if (role.template.get("spec") or {}).get("restartPolicy"):
            text = "Restart policy in pod template overridden by restart policy in replica spec"
            self.actions.append(self.emit.warning("SetPodTemplateRestartPolicy", text))
        fields = ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
        spec = {f: job.policy[f] for f in fields if job.policy.get(f) is not None}
        spec |= {"template": template} | ({"suspend": True} if suspended else {})
        metadata = {**self._metadata(f"{job.name}-launcher"), "labels": {"app": job.name}}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    # --- the verdict --------------------------------------------------------------------------------------------

    def _judge(self, launcher: Obj | None, *, suspended: bool) -> None:
        subject = f"MPIJob {self.job.namespace}/{self.job.name}"
        self._judge_suspension(suspended=suspended)
        pods = self.view.owned(kinds.POD, uid(launcher)) if launcher is not None else []
        running = 0
        if launcher is not None:
            running = self._judge_launcher(launcher, pods, subject)
        counts = count(self.workers)
        self.status.count("Worker", active=counts.active, succeeded=counts.succeeded, failed=counts.failed)
        worker = self.job.roles.get("Worker")
        evicted = sum((pod.get("status") or {}).get("reason") == "Evicted" for pod in self.workers)
        if evicted and not self.status.finished:
            text = f"{evicted}/{len(self.workers)} workers are evicted"
            self.status.complete()
            self.status.set("Failed", "MPIJobEvicted", text)
            self.actions.append(self.emit.warning("MPIJobEvicted", text))
        if self.status.finished:
            return
        if suspended:
            self.status.set("Running", "MPIJobSuspended", f"{subject} is suspended.", status=False)
            return
        all_run = running and counts.active == (worker.count if worker else 0)
        if all_run and self.status.set("Running", "MPIJobRunning", f"{subject} is running."):
            self.actions.append(self.emit.normal("MPIJobRunning", f"{subject} is running"))

    def _judge_suspension(self, *, suspended: bool) -> None:
        if not suspended and condition(self.status.value, "Suspended") is None:
            return
        word = "suspended" if suspended else "resumed"
        reason, text = f"MPIJob{word.capitalize()}", f"MPIJob {word}"
        if self.status.set("Suspended", reason, text, status=suspended):
            self.actions.append(self.emit.normal(reason, text))
            if not suspended:
                self.status.start(again=True)

    def _judge_launcher(self, launcher: Obj, pods: Sequence[Obj], subject: str) -> int:
        """Take over what the launcher's Job says; answers how many of its pods run."""
        job = launcher.get("status") or {}
        failed, running = int(job.get("failed") or 0), count(pods).active
        if is_true(job, "Complete"):
            self.status.count("Launcher", active=0, succeeded=1, failed=failed)
            text = f"{subject} successfully completed."
            self.status.value.setdefault("completionTime", job.get("completionTime"))
            self.status.set("Succeeded", "MPIJobSucceeded", text)
            self.actions.append(self.emit.normal("MPIJobSucceeded", text))
        elif is_true(job, "Failed"):
            self.status.count("Launcher", active=0, succeeded=0, failed=failed)
            self._fail(condition(job, "Failed") or {}, pods, subject)
        else:
            self.status.count("Launcher", active=running, succeeded=0, failed=failed)
        return running

    def _fail(self, why: Mapping[str, Any], pods: Sequence[Obj], subject: str) -> None:
        reason = why.get("reason") or "MPIJobFailed"
        text = why.get("message") or f"{subject} has failed"
        if reason == "BackoffLimitExceeded":
            failed = [p for p in pods if phase(p) == "Failed"]
            if failed:
                last = max(failed, key=lambda p: str((p.get("metadata") or {}).get("creationTimestamp", "")))
                said = last.get("status") or {}
                reason += f"/{said.get('reason', '')}"
                text = _truncate(f"{text}: {said.get('message', '')}")
        self.status.complete()
        self.status.set("Failed", reason, text)
        self.actions.append(self.emit.warning(reason, text))


def _job_finished(job: Obj) -> bool:
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def _truncate(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 3] + "..."


def _launcher_pod(pod: Obj, view: View) -> list[Key]:
    """The MPIJob behind a pod of a launcher's Job."""
    owner = controller_of(pod)
    if owner is None or owner.get("kind") != "Job":
        return []
    job = view.get(kinds.JOB, namespace(pod), str(owner.get("name")))
    above = controller_of(job) if job is not None else None
    if above is None or above.get("apiVersion") != MPI_V2.kind.api_version or above.get("kind") != "MPIJob":
        return []
    return [(namespace(pod), str(above["name"]))]


CONTROLLER = Controller(
    name=_SOURCE,
    kind=MPI_V2.kind,
    react=react,
    owns=(kinds.POD, kinds.SERVICE, kinds.CONFIG_MAP, kinds.JOB),
    watches={kinds.POD: _launcher_pod},
)
