"""Why jobs wait or fail: one sentence and what to do, from what a cluster shows."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Event, Explanation, LogLine, Obj, Ref, Replica
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


def test_what_cannot_be_placed() -> None:
    message = "0/1 nodes are available: 1 Insufficient cpu."
    noise = " no new claims to deallocate, preemption: 0/1 nodes: 1 No preemption victims found for incoming pod."
    waiting = [
        replica("master", 0, "Pending", reason="Unschedulable", message=message + noise),
        replica("worker", 0, "Pending"),
    ]
    template = training.templates(job())["master"]
    pod = {"metadata": {"name": "digits-master-0"}, "spec": template["spec"]}
    answer = told(job(), waiting, pods=[pod])
    assert answer.sentence == f"master-0 cannot be placed on a machine: {message}"
    assert "each replica asks for 4 CPUs; ask for less with --cpu" in answer.hint


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
            'master-0 waits for a volume: configmap "x" not found',
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
