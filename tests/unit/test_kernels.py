"""Kernels as pods, without a cluster: what is written, what is said, and which kernel specs there are."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.session import Session

from jupyterlab_kf import cli, settings
from jupyterlab_kf.manifests import kernels, pods
from jupyterlab_kf.manifests.kernels import Kernel, Orders
from jupyterlab_kf.model import Cause, Event, Explanation, Obj, Ref
from jupyterlab_kf.profiles import Hardware, Volume, choose, read
from jupyterlab_kf.runtime import kernel as program
from jupyterlab_kf.services.kernels import kept, link, sentences, starts, wishes
from jupyterlab_kf.services.kernels.wishes import Wish

PROFILES = """
profiles:
  - slug: gpu
    display_name: One GPU
    image: registry.example/lab:1
    cpu: {request: 1, limit: 2}
    memory: 4Gi
    gpus: 1
    tolerations: [{key: nvidia.com/gpu, operator: Exists}]
    environment: {FLAVOUR: vanilla}
  - slug: old
    display_name: Old
    cpu: 1
    deprecated: {message: gone soon}
  - slug: jobs
    display_name: Jobs
    cpu: 1
    used_for: [training]
"""


def hardware() -> Hardware:
    return choose(read(PROFILES).profiles[0])


def wanted(**more: Any) -> Kernel:
    return Kernel(name="kernel-gpu-1", namespace="ada", hardware=hardware(), image="other:1", **more)


def test_a_kernel_waits_for_its_secret_and_belongs_to_its_server() -> None:
    job = kernels.job(wanted(owner=("jupyter-ada", "u-1"), notebook="work/a.ipynb"))
    assert job["spec"]["suspend"] is True
    assert kernels.started() == {"spec": {"suspend": False}}
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "jupyter-ada", "uid": "u-1"}
    ]
    assert job["metadata"]["annotations"] == {"jupyterlab-kf.io/notebook": "work/a.ipynb"}
    assert job["spec"]["backoffLimit"] == 0


def test_its_pod_has_the_hardware_the_image_and_the_folder() -> None:
    mount = pods.Mount("workspace-ada", "/home/jovyan")
    template = kernels.job(wanted(mounts=(mount,), account="ada"))["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == "registry.example/lab:1"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}
    assert {"name": "FLAVOUR", "value": "vanilla"} in container["env"]
    assert [one["mountPath"] for one in container["volumeMounts"]] == ["/kf/kernel", "/home/jovyan"]
    assert template["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert template["spec"]["serviceAccountName"] == "ada"
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_what_is_secret_is_in_the_secret_alone() -> None:
    job = {**kernels.job(wanted()), "metadata": {**kernels.job(wanted())["metadata"], "uid": "u-2"}}
    orders = Orders({"key": "the-key", "ip": "127.0.0.1"}, "the-token", ("python3",), {"API_KEY": "hush"})
    secret = kernels.secret(job, orders, "print()")
    told = json.loads(base64.b64decode(secret["data"]["kernel.json"]))
    assert (told["connection"]["key"], told["token"], told["env"]) == ("the-key", "the-token", {"API_KEY": "hush"})
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "u-2"
    for text in (json.dumps(job), json.dumps(secret["metadata"]), repr(orders)):
        assert not [word for word in ("the-token", "hush") if word in text]
    assert "the-key" not in json.dumps([job, secret["metadata"]])


def server(*mounts: Obj, **claims: str) -> Obj:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in claims.items()]
    main = {"name": "notebook", "volumeMounts": [*mounts, {"name": "token", "mountPath": "/var/run/x"}]}
    return {"spec": {"containers": [main], "volumes": [*volumes, {"name": "token", "projected": {}}]}}


HOME = settings.Workspace("homes", Path("/home/jovyan"))


def test_a_kernel_has_the_volumes_of_its_server_where_the_server_has_them() -> None:
    pod = server(
        {"name": "workspace", "mountPath": "/home/jovyan", "subPath": "home/ada"},
        {"name": "kf-1", "mountPath": "/mnt/data", "readOnly": True},
        {"name": "kf-1", "mountPath": "/mnt/more", "subPath": "b"},
        {"name": "kf-2", "mountPath": "/mnt/sets"},
        workspace="homes",
        **{"kf-1": "team-data", "kf-2": "sets"},
    )
    own = Volume("sets", "/mnt/sets", "claim", "profile-sets")
    hard = replace(hardware(), profile=replace(hardware().profile, volumes=(own,)))
    mounts = wishes.shared_volumes(pod, HOME, hard)
    assert [str(one) for one in mounts] == ["homes:/home/jovyan", "team-data:/mnt/data:ro", "team-data:/mnt/more"]
    spec = kernels.job(wanted(mounts=mounts))["spec"]["template"]["spec"]
    assert [one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"][1:]] == ["homes", "team-data"]
    places = [(one["mountPath"], one.get("subPath"), one.get("readOnly")) for one in pod_mounts(spec)]
    assert places == [("/home/jovyan", "home/ada", None), ("/mnt/data", None, True), ("/mnt/more", "b", None)]
    # A server that says which workspace it has, and whose pod does not.
    assert [str(one) for one in wishes.shared_volumes(server(), HOME, hardware())] == ["homes:/home/jovyan"]
    assert wishes.shared_volumes(server(), None, hardware()) == ()


def pod_mounts(spec: Obj) -> list[Obj]:
    found: list[Obj] = spec["containers"][0]["volumeMounts"][1:]
    return found


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"phase": "Running"}, None),
        ({"phase": "Succeeded"}, 0),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "kernel", "state": {"terminated": {"exitCode": 137}}}]},
            137,
        ),
        ({"phase": "Failed", "reason": "Evicted"}, 1),
    ],
)
def test_the_end_of_a_pod(status: Obj, code: int | None) -> None:
    assert kernels.ended({"status": status}) == code


def test_only_what_was_set_for_the_kernel_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SERVER", "hush")
    monkeypatch.setenv("IN_THE_SPEC", "1")
    env = {**settings.inherited({}), "JPY_SESSION_NAME": "a.ipynb", "JPY_PARENT_PID": "1"}
    wish = Wish(env=env, always=frozenset({"IN_THE_SPEC"}))
    assert wishes.environment(wish) == {"JPY_SESSION_NAME": "a.ipynb", "IN_THE_SPEC": "1"}


def test_settings_of_the_servers_machine_hold_where_its_files_are(tmp_path: Path) -> None:
    here = {"path": str(tmp_path), "env": {"KF_DATA_DIR": str(tmp_path)}}
    assert program.environment({"here": here}, {"A": "1", "KF_PORTS": "{}"}).items() >= {
        ("A", "1"),
        ("KF_DATA_DIR", str(tmp_path)),
    }
    assert "KF_DATA_DIR" not in program.environment({"here": {**here, "path": str(tmp_path / "no")}}, {"A": "1"})


def test_both_ends_of_a_line_sign_alike() -> None:
    wire = program.Wire(None, None, b"secret")  # type: ignore[arg-type]
    assert wire.sign("agent", 3, "{}") == link._sign(b"secret", "agent", 3, "{}")


# ---------------------------------------------------------------------------------------------------------- sentences


def pod(**status: Any) -> Obj:
    job = kernels.job(wanted())
    return {
        "metadata": {"name": "kernel-gpu-1-x", "uid": "u-3"},
        "spec": job["spec"]["template"]["spec"],
        "status": status,
    }


def unschedulable(message: str) -> Obj:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(phase="Pending", conditions=[condition])


def node(**allocatable: str) -> Obj:
    return {"metadata": {"name": "n"}, "status": {"allocatable": allocatable}}


SHORT = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def test_why_a_kernel_waits_for_a_gpu() -> None:
    busy = sentences.waiting(
        kernels.job(wanted()), unschedulable(SHORT), [], [node(cpu="8", memory="32Gi", **{"nvidia.com/gpu": "4"})]
    )
    assert busy is not None
    assert busy.sentence == "The kernel asks for 1 GPU, and the only machine does not have that much free now."
    assert busy.hint == "it starts as soon as there is room; a smaller hardware profile may find some now"
    assert not sentences.hopeless(busy, 1e6, [])


def test_a_gpu_that_no_machine_has_is_not_waited_for_unless_one_is_being_added() -> None:
    never = sentences.waiting(kernels.job(wanted()), unschedulable(SHORT), [], [node(cpu="8", memory="32Gi")])
    assert never is not None
    assert never.sentence == "The kernel asks for 1 GPU, and no machine has any."
    assert not sentences.hopeless(never, 5, [])
    assert sentences.hopeless(never, 10, [])
    added = [Event("Normal", "TriggeredScaleUp", "pod triggered scale-up", Ref("Pod", "kernel-gpu-1-x"))]
    assert not sentences.hopeless(never, 1e6, added)
    assert sentences.step(added) == "a machine is being added, which takes a few minutes"


def test_an_image_that_cannot_be_pulled() -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    why = sentences.waiting(
        kernels.job(wanted()), pod(phase="Pending", containerStatuses=[{"name": "kernel", "state": state}]), [], None
    )
    assert why is not None
    assert why.cause is Cause.IMAGE_PULL
    assert why.sentence.startswith("The kernel waits for its image registry.example/lab:1, which cannot be pulled")
    assert "--" not in why.hint


def test_a_quota_speaks_of_the_kernel() -> None:
    job = {**kernels.job(wanted()), "metadata": {"name": "kernel-gpu-1", "namespace": "ada", "uid": "u-2"}}
    gpus = "requests.nvidia.com/gpu"
    said = f'pods "x" is forbidden: exceeded quota: g, requested: {gpus}=1, used: {gpus}=2, limited: {gpus}=2'
    event = Event("Warning", "FailedCreate", said, Ref("Job", "kernel-gpu-1", "ada", "u-2"))
    why = sentences.waiting(job, None, [event], None)
    assert why is not None
    assert why.cause is Cause.QUOTA
    assert why.sentence.startswith("The kernel's pod exceeds the namespace's quota 'g'")
    assert "%kf" not in why.hint


BANNER = ["NOTE: When using the `ipython kernel` entry point", "    --existing /tmp/kernel-connection.json"]

LACKS = "/usr/bin/python3: No module named ipykernel_launcher"
TRACEBACK = "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("code", "lines", "oom", "sentence"),
    [
        (-9, BANNER, False, "The kernel was ended by SIGKILL: it was killed."),
        (-9, [], True, "The kernel was ended because it used more than the 4 GiB of memory of 'One GPU'."),
        (1, [LACKS], False, "The image i:1 has no ipykernel, which runs Python kernels."),
        (1, [TRACEBACK, '  File "x.py", line 1', "ValueError: no"], False, "The kernel failed: ValueError: no"),
        (127, [], False, "The kernel ended with exit code 127: the command was not found in the image."),
    ],
)  # fmt: skip
def test_why_a_kernel_has_ended(code: int, lines: list[str], sentence: str, *, oom: bool) -> None:
    why = sentences.ended(code, lines, hardware().profile, "i:1", out_of_memory=oom)
    assert why.sentence == sentence
    assert "existing" not in why.hint


def test_of_what_it_wrote_its_last_run_is_shown() -> None:
    why = sentences.ended(
        134, [*BANNER, "old", *BANNER, "terminate called"], hardware().profile, "i:1", out_of_memory=False
    )
    assert why.hint == "its last lines:\nterminate called"


def test_a_pod_that_used_too_much_memory() -> None:
    dead = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    why = sentences.crashed(
        kernels.job(wanted()), pod(phase="Failed", containerStatuses=[{"name": "kernel", "state": dead}]), [], []
    )
    assert isinstance(why, Explanation)
    assert why.sentence == "The kernel was ended because it used more memory than its limit of 4Gi."
    assert why.hint == "choose a hardware profile with more memory"


# --------------------------------------------------------------------------------------------------------------- specs


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "profiles.yaml"
    file.write_text(PROFILES)
    monkeypatch.setenv("KF_PROFILES", str(file))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    return file


def test_specs_follow_the_profiles(profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "share" / "jupyter" / "kernels"
    (folder / "kf-mine").mkdir(parents=True)
    (folder / "kf-mine" / "kernel.json").write_text('{"argv": [], "display_name": "Mine"}')
    assert cli.main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["kf-gpu", "kf-mine"]
    spec = json.loads((folder / "kf-gpu" / "kernel.json").read_text())
    assert spec["display_name"] == "Python 3 · One GPU"
    assert (folder / "kf-gpu" / "logo-64x64.png").exists()
    capsys.readouterr()
    assert cli.main(["kernels", "list"]) == 0
    assert str(folder / "kf-gpu") in capsys.readouterr().out

    profiles.write_text(PROFILES.replace("slug: gpu", "slug: a100"))
    assert cli.main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["kf-a100", "kf-mine"]
    assert cli.main(["kernels", "remove", "--prefix", str(tmp_path)]) == 0
    assert [path.name for path in folder.iterdir()] == ["kf-mine"]


def test_no_profile_for_kernels(profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiles.write_text("profiles: [{slug: jobs, display_name: Jobs, used_for: [training]}]")
    assert cli.main(["kernels", "install", "--prefix", str(tmp_path)]) == 2
    assert "no hardware profile is for kernels" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- kernels whose server is not there


ALONE = {"alone_for": 600, "alone_busy_for": 3600}


@pytest.mark.parametrize(
    ("now", "alone", "idle", "busy", "seconds"),
    [
        (1000, 1000, 0, False, 600),  # it had nothing to do for long when its server went
        (1500, 1000, 1200, False, 300),  # it has just finished: who returns finds what it made
        (1500, 1000, 1200, True, 3100),
        (5000, 1000, 1200, True, -400),
    ],
)
def test_how_long_a_kernel_waits_for_its_server(
    now: float, alone: float, idle: float, *, busy: bool, seconds: float
) -> None:
    assert program.remaining(ALONE, now, alone, idle, busy=busy, ended=False) == seconds


def test_a_kernel_that_has_ended_is_not_waited_for_long() -> None:
    # Whoever asked for its end may be about to start it again.
    assert program.remaining(ALONE, 1000, 990, 995, busy=False, ended=True) == 5
    assert program.remaining({"alone_for": 2}, 1000, 999, 999, busy=False, ended=True) == 1


def test_a_kernel_computes_until_all_that_was_asked_is_done() -> None:
    changes: list[bool] = []
    ear = program.Ear(lambda: changes.append(bool(ear.computing)))
    jupyter = Session(key=b"k")

    def hear(kind: str, cause: str, **content: Any) -> None:
        ear.hear([b"kernel.1.topic", *jupyter.serialize(jupyter.msg(kind, content, parent={"msg_id": cause}))])

    hear("status", "cell", execution_state="busy")
    # Asked on another channel meanwhile: the cell is not done with it.
    hear("status", "info", execution_state="busy")
    hear("status", "info", execution_state="idle")
    assert ear.computing == {"cell"}
    hear("stream", "cell", name="stdout", text='"status"')
    ear.hear([b"not", b"of", b"Jupyter's"])
    hear("status", "cell", execution_state="idle")
    assert changes == [True, False]


def test_kept_kernels_are_found_by_the_server_of_the_same_name(tmp_path: Path) -> None:
    state = {"context": "c", "token": "t", "job": {"metadata": {"name": "kernel-1", "namespace": "ada"}}}
    ours = kept.Shelf(tmp_path / "kernels", "ada/")
    assert not ours.used
    assert ours.claim()
    assert ours.put(kept.Kept("k-1", "kf-gpu", state))
    assert not ours.put(kept.Kept("../k-2", "kf-gpu", state))
    ours.note({"k-1": [{"id": "s", "path": "a.ipynb", "name": "a", "type": "notebook"}], "other": []})
    (tmp_path / "kernels" / "x.json").write_text("{")
    (file,) = tmp_path.glob("kernels/*/*.json")
    assert file.stat().st_mode & 0o777 == 0o600

    assert kept.Shelf(tmp_path / "kernels", "ada/second").all() == []
    again = kept.Shelf(tmp_path / "kernels", "ada/")
    assert not again.claim()  # while the other runs, its kernels are its own
    (found,) = again.all()
    assert (found.kernel_id, found.place, found.sessions[0]["path"]) == ("k-1", ("c", "ada"), "a.ipynb")
    again.drop("k-1")
    assert ours.all() == []


def test_a_server_has_the_same_name_after_a_restart() -> None:
    hub = settings.load({"JUPYTERHUB_USER": "ada", "JUPYTERHUB_SERVER_NAME": "gpu"})
    assert kept.name_of(hub, Path("/home/jovyan")) == "ada/gpu"
    assert kept.name_of(settings.load({}), Path("/w")).endswith(":/w")


def test_what_starts_wait_for_is_heard_until_they_are_over() -> None:
    known = starts.Starts()
    heard: list[tuple[str, ...]] = []
    leave = known.listen(lambda: heard.append(tuple(f"{one.kernel_id} {one.sentence}" for one in known.all())))
    known.tell(starts.KernelStart("k", "GPU", "a.ipynb", sentence="waits"))
    known.tell(starts.KernelStart("k", "GPU", "a.ipynb", sentence="starts"))
    known.over("k")
    known.over("other")  # most start before there is anything to say
    for number in range(12):
        known.tell(starts.KernelStart(f"f{number}", "GPU", "", "failed"))
    leave()
    known.tell(starts.KernelStart("k", "GPU", ""))
    assert heard[:3] == [("k waits",), ("k starts",), ()]
    assert [one.kernel_id for one in known.all()] == [*(f"f{number}" for number in range(4, 12)), "k"]
