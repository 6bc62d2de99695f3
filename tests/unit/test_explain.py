"""Why jobs wait or fail: one sentence and what to do, from what a cluster shows."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Cause, Event, Explanation, LogLine, Obj, Ref, Replica
from jupyterlab_kf.services import explain

TRACE = """Traceback (most recent call last):
  File "cell.py", line 7, in <module>
    step()
  File "/opt/lib/python3.11/site-packages/torch/x.py", line 3, in step
    raise {error}
{error}"""


def job(*conditions: tuple[str, str, str], framework: str = "pytorch", **spec: Any) -> Obj:
    row = frameworks.framework(framework)
    made = training.encode(
        training.TrainingSpec(
            name="digits",
            namespace="n",
            framework=row,
            replicas=frameworks.layout(row, workers=2),
            submission="0" * 12,
            image="python:3.11",
            resources=pods.resources("4", "1Gi", None),
            output=True,
        )
    )
    made["metadata"]["uid"] = "u1"
    made["spec"]["runPolicy"] |= spec
    listed = [{"type": t, "status": "True", "reason": r, "message": m} for t, r, m in conditions]
    return {**made, "status": {"conditions": listed}}


FAILED = ("Failed", "PyTorchJobFailed", "PyTorchJob digits is failed because 1 Worker replica(s) failed.")


def why(one: Obj, replicas: list[Replica], **more: Any) -> Explanation | None:
    return explain.explain(explain.Case(one, training.decode(one), replicas, **more))


def told(one: Obj, replicas: list[Replica], **more: Any) -> Explanation:
    answer = why(one, replicas, **more)
    assert answer is not None
    return answer


def lines(replica: str, text: str, at: float = 10.0) -> list[LogLine]:
    return [LogLine(replica, line, at + place / 1000) for place, line in enumerate(text.splitlines())]


def replica(role: str, index: int, phase: str = "Failed", **more: Any) -> Replica:
    return Replica(role, index, phase, pod=f"digits-{role}-{index}", **more)


def test_all_is_well() -> None:
    assert why(job(("Running", "", "")), [replica("master", 0, "Running", node="x")]) is None
    assert why(job(("Succeeded", "", "")), [replica("worker", 0, exit_code=1)]) is None


def test_the_first_failure_is_the_cause_and_not_its_peers_complaint() -> None:
    tails = {
        "master-0": lines("master-0", TRACE.format(error="RuntimeError: [gloo] Connection closed by peer"), at=9.0),
        "worker-0": lines("worker-0", "before\n" + TRACE.format(error="ValueError: no data") + "\nafter", at=9.5),
    }
    answer = told(job(FAILED), [replica("master", 0, exit_code=1), replica("worker", 0, exit_code=1)], tails=tails)
    assert answer.replica == "worker-0"
    assert answer.sentence == "worker-0 failed: ValueError: no data (cell.py, line 7)"
    assert answer.traceback == TRACE.format(error="ValueError: no data")


def test_the_place_is_in_what_was_sent_and_not_in_a_library() -> None:
    frames = (
        'File "sub/train.ipynb cell 3", line 2, in <module>\n    f()\n  File "/usr/lib/python3/json/decoder.py", line 9'
    )
    trace = TRACE.format(error="ValueError: no").replace('File "cell.py", line 7', frames)
    answer = told(job(FAILED), [replica("worker", 0, exit_code=1)], tails={"worker-0": lines("worker-0", trace)})
    assert answer.sentence == "worker-0 failed: ValueError: no (sub/train.ipynb cell 3, line 2)"


def test_a_ranks_traceback_explains_the_launcher() -> None:
    tails = {
        "launcher-0": lines("launcher-0", "prterun detected that one or more processes exited"),
        "rank-1": lines("rank-1", TRACE.format(error="KeyError: 'x'")),
    }
    answer = told(job(FAILED, framework="mpi"), [replica("launcher", 0, exit_code=1, finished=1.0)], tails=tails)
    assert answer.sentence == "rank-1 failed: KeyError: 'x' (cell.py, line 7)"


def test_chained_tracebacks_belong_together() -> None:
    text = (
        TRACE.format(error="KeyError: 1")
        + "\n\nDuring handling of the above exception, another exception occurred:\n\n"
        + TRACE.format(error="ValueError: two\nlines")
    )
    found, _ = explain.traceback_in(
        lines("w", "x\n" + TRACE.format(error="OSError: earlier") + "\nok\n" + text + "\nend")
    )
    assert found.startswith(TRACE.format(error="KeyError: 1"))
    assert "earlier" not in found
    assert "end" not in found


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("ModuleNotFoundError: No module named 'einops'", "python:3.11 has no 'einops'"),
        ("NameError: name 'lr' is not defined", "pass it with --param lr"),
        ("FileNotFoundError: [Errno 2] No such file: 'a.csv'", "--files"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "smaller batches"),
    ],
)
def test_what_to_do_about_an_error(error: str, hint: str) -> None:
    tails = {"worker-0": lines("worker-0", TRACE.format(error=error))}
    assert hint in told(job(FAILED), [replica("worker", 0, exit_code=1)], tails=tails).hint


@pytest.mark.parametrize(
    ("replicas", "sentence"),
    [
        ([replica("worker", 0, exit_code=137, reason="OOMKilled")], "used more memory than its limit of 1Gi"),
        ([replica("worker", 0, exit_code=139)], "exit code 139: it crashed by a memory access"),
        ([replica("worker", 0, exit_code=3)], "worker-0 ended with exit code 3."),
        (
            [replica("master", 0, exit_code=143, finished=5.0), replica("worker", 0, exit_code=2, finished=9.0)],
            "worker-0 ended with exit code 2",
        ),
        ([], "1 Worker replica(s) failed"),
    ],
)
def test_failures_without_a_traceback(replicas: list[Replica], sentence: str) -> None:
    assert sentence in told(job(FAILED), replicas).sentence


def test_what_the_launcher_says_is_passed_on() -> None:
    tails = {"launcher-0": lines("launcher-0", "launch.py: mpirun is not in this image; choose one with Open MPI")}
    answer = told(job(FAILED, framework="mpi"), [replica("launcher", 0, exit_code=127)], tails=tails)
    assert answer.sentence == "launcher-0 failed: mpirun is not in this image; choose one with Open MPI"


def test_a_deadline_is_named() -> None:
    late = job(("Failed", "DeadlineExceeded", "was active longer than specified deadline"), activeDeadlineSeconds=60)
    assert "longer than its deadline of 60 s" in told(late, []).sentence


def test_a_node_that_was_shut_down_is_the_cause() -> None:
    status = {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}
    pod = {"spec": {"nodeName": "here"}, "status": status}
    answer = told(job(FAILED), [replica("worker", 0, exit_code=143)], pods=[pod])
    assert answer.sentence == "The job was ended because node here was shut down."


def test_a_suspended_job_tells_how_it_goes_on() -> None:
    assert "kubectl patch pytorchjob digits" in told(job(("Suspended", "", "")), []).hint


def event(reason: str, message: str, name: str, *, kind: str = "Pod", uid: str = "", type_: str = "Warning") -> Event:
    return Event(type_, reason, message, Ref(kind, name, "n", uid))


NOISE = " no new claims to deallocate, preemption: 0/3 nodes are available: 3 {}."
ONE_TAINTED_TWO_OTHERS = (
    "0/3 nodes are available: 1 node(s) had untolerated taint(s) {a.b/c: }, "
    "2 node(s) didn't match Pod's node affinity/selector."
)
VICTIMS = NOISE.format("No preemption victims found for incoming pod")


def machine(name: str, cpu: str = "8", memory: str = "16Gi", *taints: str, **marks: str) -> Obj:
    size = {"cpu": cpu, "memory": memory}
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    return {"metadata": {"name": name, "labels": marks}, "spec": spec, "status": {"allocatable": size}}


def placed(message: str, nodes: list[Obj] | None, *, framework: str = "pytorch") -> Explanation:
    one = job(framework=framework)
    roles = ["master", "worker"] if framework == "pytorch" else ["worker"]
    waiting = [replica(role, 0, "Pending", reason="Unschedulable", message=message + VICTIMS) for role in roles]
    spec = next(iter(training.templates(one).values()))["spec"]
    bodies = [{"metadata": {"name": one.pod}, "spec": spec} for one in waiting]
    return told(one, waiting, pods=bodies, nodes=nodes)


@pytest.mark.parametrize(
    ("message", "nodes", "cause", "sentence"),
    [
        (
            "0/3 nodes are available: 3 Insufficient cpu.",
            [machine("a", "2"), machine("b", "3500m")],
            Cause.TOO_LARGE,
            "master-0 and 1 more each ask for 4 CPUs, and the largest machine has 3.5 CPUs.",
        ),
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.",
            [machine("a"), machine("b")],
            Cause.BUSY,
            "master-0 and 1 more each ask for 1 GiB of memory, and 1 of 3 machines does not have that much free now.",
        ),
        (
            "0/3 nodes are available: 3 Insufficient cpu.",
            None,
            Cause.INSUFFICIENT,
            "master-0 and 1 more each ask for 4 CPUs, and none of the 3 machines has that much free.",
        ),
        (
            # The large machine is reserved for others: waiting for it is in vain.
            "0/3 nodes are available: 1 node(s) had untolerated taint(s) {team: b}, 2 Insufficient cpu.",
            [machine("a", "2"), machine("b", "64", "1Ti", "team")],
            Cause.TOO_LARGE,
            "the largest machine has 2 CPUs; 1 of 3 machines is reserved by a taint (team).",
        ),
        (
            ONE_TAINTED_TWO_OTHERS,
            [machine("a")],
            Cause.NO_MACHINE_ACCEPTS,
            "1 more: 1 of 3 machines is reserved by a taint (a.b/c), 2 of 3 machines lack the labels that it asks for.",
        ),
        (
            'persistentvolumeclaim "data" not found.',
            None,
            Cause.VOLUME_MISSING,
            "master-0 waits for the volume claim 'data', which does not exist.",
        ),
        ("something new", None, Cause.UNSCHEDULABLE, "cannot be placed on a machine: something new"),
    ],
)
def test_what_cannot_be_placed(message: str, nodes: list[Obj] | None, cause: Cause, sentence: str) -> None:
    answer = placed(message, nodes)
    assert answer.cause is cause
    assert sentence in answer.sentence


def test_replicas_that_start_together() -> None:
    short, small = "0/3 nodes are available: 3 Insufficient cpu.", [machine("a")]
    waits = placed(f"{short} The pods of this job start together.", small)
    assert (waits.cause, waits.sentence) == (
        Cause.GANG_WAITING,
        "master-0 and 1 more wait until there is room for all 2 replicas at once.",
    )
    assert placed(f"{short} The pods of this job start together, and 2 of them can never fit.", small).cause is (
        Cause.TOO_LARGE
    )


@pytest.mark.parametrize(
    ("replicas", "events", "sentence"),
    [
        (
            [replica("master", 0, "Pending", reason="ImagePullBackOff", node="x")],
            [event("Failed", "no such image", "digits-master-0")],
            "waits for its image python:3.11, which cannot be pulled: no such image",
        ),
        (
            [replica("master", 0, "Pending", reason="ContainerCreating", node="x")],
            [event("FailedMount", 'configmap "x" not found', "digits-master-0")],
            "master-0 waits for the ConfigMap 'x', which does not exist.",
        ),
        (
            [replica("master", 0, "Pending", reason="ContainerCreating", node="x")],
            [event("FailedMount", "rpc error: timed out", "digits-master-0")],
            "master-0 waits for a volume: rpc error: timed out",
        ),
        (
            [Replica("master", 0, "Waiting")],
            [event("ProvisioningFailed", "no class", "digits-output-000000", kind="PersistentVolumeClaim")],
            "The folder for the results cannot be made: no class",
        ),
        (
            [Replica("master", 0, "Waiting")],
            [event("FailedCreatePod", "exceeded quota: q", "digits", kind="PyTorchJob", uid="u1")],
            "The replicas cannot be created: exceeded quota: q",
        ),
        (
            [replica("master", 0, "Pending", reason="CreateContainerConfigError", message="secret not found")],
            [],
            "master-0 cannot be started: secret not found",
        ),
        (
            [Replica("master", 0, "Waiting")],
            [event("Unsupported", "the field x does nothing here", "digits", kind="PyTorchJob", uid="u1")],
            "Unsupported: the field x does nothing here",
        ),
    ],
)
def test_what_waits(replicas: list[Replica], events: list[Event], sentence: str) -> None:
    assert sentence in told(job(), replicas, events=events).sentence


def test_a_replica_that_was_started_again() -> None:
    tails = {"worker-0": lines("worker-0", TRACE.format(error="OSError: disk"))}
    again = [replica("worker", 0, "Running", restarts=2, exit_code=1, node="x")]
    assert told(job(("Running", "", "")), again, tails=tails).sentence == (
        "worker-0 failed and was started again 2 times: OSError: disk"
    )


def test_events_of_both_apis() -> None:
    old = {"type": "Warning", "reason": "X", "message": "m", "count": 3, "lastTimestamp": "2026-11-23T10:00:00Z"}
    new = {"reason": "X", "eventTime": "2026-11-23T10:00:00.5Z", "reportingComponent": "c", "series": {"count": 4}}
    assert (explain.decode_event(old).count, explain.decode_event(old).last) == (3, 1795428000.0)
    assert (explain.decode_event(new).count, explain.decode_event(new).source) == (4, "c")
