"""What volumes a person may have with a server: theirs, where they hide nothing, within what their group may."""

from __future__ import annotations

from typing import Any

import pytest
from jupyterlab_kf_hub import form, options, volumes
from jupyterlab_kf_hub.volumes import Claim, Shelf, Volume

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests.capacity import survey
from jupyterlab_kf.profiles import read

CATALOGUE = read("""
profiles:
  - {slug: small, cpu: 1, memory: 1Gi, volumes: [{name: sets, mount_path: /sets, claim: sets}]}
  - slug: gpu
    display_name: GPU
    cpu: {min: 500m, max: 8, default: 2}
    memory: {min: 1536Mi, max: 64Gi, default: 8Gi}
    gpus: [{resource: nvidia.com/gpu, min: 0, max: 4, default: 1}, {resource: amd.com/gpu, count: 2}]
    images: [lab:1, lab:2]
limits:
  "*": {storage: 40Gi}
  research: {storage: 1Ti, own_image: true}
""")
HELD = Shelf(
    "workspace-ann",
    {"data": Claim("data", "20Gi"), "old": Claim("old", "5Gi"), "workspace-ann": Claim("workspace-ann", "10Gi")},
    frozenset({"bobs"}),
)


def one(claim: str, **more: Any) -> dict[str, Any]:
    return {"volumes": [{"claim": claim, **more}]}


def check(said: dict[str, Any], held: Shelf = HELD, group: str = "students") -> options.Wish:
    return options.check(said, CATALOGUE, [group], (), held)


def test_a_form_a_query_and_a_body_mean_the_same() -> None:
    body = {
        "hardware": "small",
        "workspace": "scratch",
        "workspace_size": "1Gi",
        "volumes": [
            {"claim": "data", "path": "/mnt/data", "read_only": True},
            {"claim": "more", "size": "2048Mi"},
        ],
    }
    posted = {
        "hardware": "small", "workspace": "+new", "workspace_name": "scratch", "workspace_size": "1Gi",
        "volume_1_claim": "data", "volume_1_path": "/mnt/data/", "volume_1_mode": "ro", "volume_1_name": "left",
        "volume_1_size": "9Gi", "volume_2_claim": "", "volume_2_mode": "rw", "volume_3_claim": "+new",
        "volume_3_name": "more", "volume_3_size": "2048Mi", "gpu.cpu": "99", "_xsrf": "z",
    }  # fmt: skip
    query = {
        "hardware": "small", "workspace": "scratch", "workspace_size": "1Gi", "volume_1_claim": "data",
        "volume_1_path": "/mnt/data", "volume_1_mode": "ro", "volume_2_claim": "more", "volume_2_size": "2048Mi",
    }  # fmt: skip
    wish = check(body)
    assert wish == check(options.from_form({key: [value] for key, value in posted.items()}))
    assert wish == check(options.from_form({key: [value] for key, value in query.items()}))
    assert wish.workspace == Volume("scratch", "1Gi")
    assert wish.volumes == (
        Volume("data", "", "/mnt/data", read_only=True),
        Volume("more", "2Gi", "/home/jovyan/more"),
    )


def test_the_amounts_of_the_chosen_card_count() -> None:
    posted = {"hardware": ["gpu"], "gpu.memory": ["1.5"], "gpu.gpus": ["2"], "gpu.accelerator": ["amd.com/gpu"],
              "gpu.image": ["lab:2"], "small.memory": ["7"]}  # fmt: skip
    hardware = check(options.from_form(posted)).hardware
    assert dict(hardware.limits) == {"cpu": "2", "memory": "1536Mi", "amd.com/gpu": "2"}
    assert hardware.image == "lab:2"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (one("../etc"), "'../etc' is not the name of a volume"),
        (one("{0.__class__}"), "is not the name of a volume"),
        (one(""), "volume 1: say which volume it is"),
        (one("+new"), "a new volume needs a name"),
        (one("bobs"), "there is no volume 'bobs'"),
        (one("bobs", size="1Gi"), "the name 'bobs' is taken"),
        (one("dat"), "there is no volume 'dat'"),
        (one("data", size="1Gi"), "you have a volume 'data' of 20 GiB already"),
        (one("new", size="much"), "'much' is not a size for the volume 'new'"),
        (one("new", size="-1Gi"), "less than a megabyte"),
        (one("new", size="10"), "less than a megabyte"),
        (one("new", size="6Gi"), "you may have 40 GiB of volumes, and 6 GiB more is too much; those you have are 35"),
        ({"workspace": "w", "workspace_size": "3Gi", **one("new", size="3Gi")}, "6 GiB more is too much"),
        (one("n.ew", size="1Gi"), "'n.ew' cannot name a new volume"),
        (one("workspace-ann"), "the volume 'workspace-ann' is your workspace already"),
        ({"workspace": "data", **one("data")}, "the volume 'data' is your workspace already"),
        ({"workspace": "bobs"}, "there is no volume 'bobs'"),
        ({"workspace_size": "20Gi"}, "you have a volume 'workspace-ann' of 10 GiB already"),
        ({"workspace": ["data"]}, "workspace is one text, not list"),
        ({"volumes": "data"}, "volumes are a list of mappings"),
        ({"volumes": ["data"]}, "volumes are a list of mappings"),
        ({"volumes": [{"claim": "data"}] * 9}, "8 data volumes, not 9"),
        (one("data", mode="ro"), "volume 1 has no 'mode'"),
        (one("data", read_only="ro"), "volume 1: read_only is true or false, not 'ro'"),
        (one("data", path=7), "volume 1: path is one text, not int"),
        ({"volumes": [{"claim": "data"}, {"claim": "data", "path": "/mnt/x"}]}, "'data' is mounted twice"),
        (
            {"volumes": [{"claim": "data", "path": "/mnt/x"}, {"claim": "old", "path": "/mnt/x/"}]},
            "'old' cannot be mounted: /mnt/x is taken already",
        ),
        (
            {"volumes": [{"claim": "data", "path": "/mnt/x/y"}, {"claim": "old", "path": "/mnt/x"}]},
            "/mnt/x and /mnt/x/y would be one inside the other",
        ),
        ({"hardware": "small", **one("data", path="/sets/mine")}, "/sets/mine and /sets would be one inside the other"),
        ({"hardware": "gpu", "accelerator": "intel.com/gpu"}, "has no 'intel.com/gpu'"),
        ({"hardware": "gpu", "gpus": 5}, "allows 0 to 4 GPUs, not 5"),
        ({"hardware": "gpu", "gpus": -1}, "allows 0 to 4 GPUs, not -1"),
        ({"hardware": "gpu", "accelerator": "amd.com/gpu", "gpus": 1}, "allows 2 AMD GPUs, not 1"),
        ({"hardware": "gpu", "shared_memory": "65Gi"}, "shared memory of 65Gi is more than the server has"),
    ],
)
def test_what_is_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check(said)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *((path, "hide a part of the system") for path in ("/etc", "/usr/lib/x", "/opt", "/tmp/x", "/var/run", "/dev")),
        *((path, "hide your home") for path in ("/home/jovyan", "/home/jovyan/", "/home")),
        ("/home/bob/data", "hide a part of the system"),
        *((path, "not a place for a volume") for path in (
            "/", "data", "/mnt/../etc", "/mnt//x", "/home/jovyan/.ssh", "/mnt/a b", "/mnt/x:ro", "/mnt/{x}",
            "/mnt/\nx", "/mnt/$(HOME)", f"/mnt/{'x' * 200}",
        )),
    ],
)  # fmt: skip
def test_places_that_a_volume_may_not_have(path: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        volumes.check_path(path)


@pytest.mark.parametrize(
    "path", ["/mnt/data", "/data", "/home/jovyan/data", "/home/jovyan/a/b", "/opt/data", "/srv/x.1"]
)
def test_places_that_it_may_have(path: str) -> None:
    assert volumes.check_path(path + "/") == path


def test_groups_may_have_more_and_what_was_made_is_not_made_again() -> None:
    assert check(one("new", size="600Gi"), group="research").new()
    again = check(one("data", size="20480Mi"))
    assert not again.new()
    assert again.volumes == (Volume("data", "", "/home/jovyan/data"),)
    assert check({"workspace": "workspace-ann"}).workspace is None
    fresh = Shelf("workspace-ann")
    assert check({"workspace_size": "20Gi"}, fresh).workspace == Volume("workspace-ann", "20Gi")
    assert check({}, Shelf("workspace-ann", None))
    with pytest.raises(UsageError, match="cannot be looked at just now"):
        check(one("data"), Shelf("workspace-ann", None))


def test_whose_a_claim_is() -> None:
    def claim(name: str, owner: str | None, **more: Any) -> dict[str, Any]:
        labels = {} if owner is None else {"hub.jupyter.org/username": owner}
        spec = {"resources": {"requests": {"storage": "1Gi"}}}
        return {"metadata": {"name": name, "labels": labels, **more}, "spec": spec}

    found = [
        claim("anns", "ann"),
        claim("bobs", "bob"),
        claim("nobodys", None),
        claim("going", "ann", deletionTimestamp="x"),
        {**claim("lost", "ann"), "status": {"phase": "Lost"}},
    ]
    shared = volumes.shelf(found, home="h", person="ann", alone=False)
    assert (list(shared.claims or ()), "nobodys" in shared.taken) == (["anns"], True)
    own = volumes.shelf(found, home="h", person="ann", alone=True)
    assert (list(own.claims or ()), own.taken) == (["anns", "nobodys"], {"bobs", "going", "lost"})


def test_the_pod_gets_them() -> None:
    pod: dict[str, Any] = {
        "spec": {
            "containers": [{"name": "notebook", "env": [{"name": "KF_WORKSPACE_CLAIM", "value": "home"}]}],
            "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": "home"}}],
        }
    }
    volumes.mount(pod, "notebook", "home", Volume("scratch"), [Volume("my-data", "", "/mnt/d", read_only=True)])
    main, [workspace, data] = pod["spec"]["containers"][0], pod["spec"]["volumes"]
    assert workspace == {"name": "workspace", "persistentVolumeClaim": {"claimName": "scratch"}}
    assert data["persistentVolumeClaim"] == {"claimName": "my-data"}
    assert main["volumeMounts"] == [{"name": data["name"], "mountPath": "/mnt/d", "readOnly": True}]
    assert main["env"] == [
        {"name": "KF_WORKSPACE_CLAIM", "value": "scratch"},
        {"name": "KF_VOLUME_MY_DATA", "value": "/mnt/d"},
    ]


ALLOCATABLE = {"cpu": "8", "memory": "64Gi", "pods": "9"}
NODE = {
    "metadata": {"name": "n"},
    "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "9", "nvidia.com/gpu": "4"}},
}


def test_the_form_offers_them_and_remembers_escaped() -> None:
    last = {
        "hardware": "gpu",
        "memory": "1536Mi",
        "accelerator": "nvidia.com/gpu",
        "image": "lab:2",
        "workspace": "old",
        "volumes": [
            {"claim": "data", "size": "20Gi", "path": '"><script>', "read_only": True},
            {"claim": "gone"},
            {"claim": "next", "size": "3Gi"},
            "nonsense",
        ],
    }
    page = form.render(CATALOGUE, ["students"], survey([NODE], []), last, held=HELD)
    assert "<script>" not in page
    assert 'name="gpu.memory" value="1.5" placeholder="8"' in page
    assert '<option value="nvidia.com/gpu" selected>GPU, 0 to 4; free now</option>' in page
    assert '<option value="amd.com/gpu">AMD GPU, 2; not here</option>' in page
    assert "<option selected>lab:2</option>" in page
    assert '<option value="old" selected>old, 5 GiB</option>' in page
    assert page.count('<option value="data" selected>data, 20 GiB</option>') == 1
    assert 'name="volume_2_name" value="next"' in page
    assert 'name="volume_2_size" value="3Gi"' in page
    assert page.count('class="form-select kf-claim"') == volumes.MOST
    assert "Your volumes may have 40 GiB together; 35 GiB are used." in page
    assert "bobs" not in page
    assert '<details class="kf-advanced" open>' in page


@pytest.mark.parametrize(
    ("last", "nvidia", "amd"),
    [
        ({}, "Starts at once; 2 like it would.", "There is no AMD GPU here."),
        ({"gpus": "4"}, "Too large: the largest machine has 2 GPUs.", "There is no AMD GPU here."),
        ({"gpus": "0"}, "Starts at once; 4 like it would.", "There is no AMD GPU here."),
        ({"gpus": "many"}, "Starts at once; 2 like it would.", "There is no AMD GPU here."),
    ],
)
def test_what_starts_is_said_of_each_kind_of_gpu(last: dict[str, Any], nvidia: str, amd: str) -> None:
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {**ALLOCATABLE, "nvidia.com/gpu": "2"}}}
    page = form.render(CATALOGUE, [], survey([node], []), {"hardware": "gpu", **last})
    assert f'data-kind="nvidia.com/gpu">{nvidia}' in page
    assert f'kf-waits" data-kind="amd.com/gpu">{amd}' in page


def test_a_gpu_that_may_be_chosen_and_is_not_there_is_named() -> None:
    catalogue = read("profiles: [{slug: maybe, cpu: 1, gpus: {resource: nvidia.com/gpu, min: 0, max: 2, default: 0}}]")
    node = {"metadata": {"name": "n"}, "status": {"allocatable": ALLOCATABLE}}
    page = form.render(catalogue, [], survey([node], []), {})
    assert "Starts at once without GPUs; there is none here." in page
    gpus = {"metadata": {"name": "n"}, "status": {"allocatable": {**ALLOCATABLE, "nvidia.com/gpu": "1"}}}
    assert "Starts at once; 8 like it would." in form.render(catalogue, [], survey([gpus], []), {})


@pytest.mark.parametrize("last", [{"volumes": "x", "environment": ["a"]}, {"volumes": {"claim": 1}, "cpu": {"a": 1}}])
def test_the_form_bears_nonsense_that_a_body_brought(last: dict[str, Any]) -> None:
    assert "Toggle advanced" in form.render(CATALOGUE, [], survey([], []), last, held=Shelf("h", None))
