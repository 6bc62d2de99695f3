"""``profiles.yaml``: what it may say, what is said about its faults, and what a profile makes of a pod."""

from __future__ import annotations

import copy
import os
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from jupyterlab_kf import settings
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles import (
    Choice,
    Profile,
    Use,
    check,
    choose,
    kernel_spec,
    kubespawner_override,
    pod_template,
    read,
)
from jupyterlab_kf.services import hardware

SHIPPED = Path(__file__).parents[2] / "hub_config" / "profiles.yaml"

NO_RESOURCE = "is not the name of an extended resource, such as nvidia.com/gpu"
FULL = """
x-common: &common
  tolerations:
    - {key: dedicated, value: ml, effect: NoSchedule}
  environment: {ON: yes, NUMBER: 010, WHERE: $(HOME)}
profiles:
  - slug: small
    display_name: Small
    cpu: 500m
    memory: 1Gi
    default: true
  - <<: *common
    slug: wide
    images: [lab:1, lab:2]
    cpu: {min: 1, max: 8, default: 2}
    memory: {request: 1024Mi, limit: 4Gi}
    gpus:
      - {resource: nvidia.com/gpu, min: 0, max: 4, default: 1}
      - {resource: amd.com/gpu, count: 2}
    shared_memory: 512Mi
    node_selector: {gpu-type: a100}
    volumes:
      - {name: data, mount_path: /data, claim: shared-data, read_only: true}
      - {name: scratch, mount_path: /scratch, empty_dir: 10Gi}
    groups: [research]
    used_for: [server, training]
    idle_timeout: 1.5h
  - slug: secret
    hidden: true
  - slug: old
    deprecated: {message: it goes away in May, replacement: small}
limits:
  "*": {servers: 2, memory: 8Gi}
  research: {gpus: 4, own_image: true}
  teachers: {servers: 5, gpus: 2}
"""


def find(slug: str) -> Profile:
    found = read(FULL).find(slug)
    assert found is not None
    return found


def problems(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.message) for one in check(dedent(text))[1]]


def test_the_shipped_file_is_right_and_has_something_for_every_use() -> None:
    found = read(SHIPPED.read_text())
    default = found.default(Use.SERVER, [])
    assert default is not None
    assert default.slug == "small"
    for use in Use:
        assert [one.slug for one in found.offered(use)] == ["small", "medium", "large", "gpu"]


def test_every_key_is_read() -> None:
    wide = find("wide")
    assert wide.images == ("lab:1", "lab:2")
    assert (wide.cpu.minimum, wide.cpu.request, wide.cpu.maximum) == ("1", "2", "8")
    assert (wide.memory.request, wide.memory.limit, wide.memory.movable) == ("1Gi", "4Gi", False)
    assert [(one.resource, one.minimum, one.default, one.maximum) for one in wide.accelerators] == [
        ("nvidia.com/gpu", 0, 1, 4),
        ("amd.com/gpu", 2, 2, 2),
    ]
    assert wide.environment == (("ON", "yes"), ("NUMBER", "010"), ("WHERE", "$(HOME)"))  # as they were written
    assert wide.idle_timeout == 5400
    assert wide.used_for == (Use.SERVER, Use.TRAINING)
    assert wide.hardware() == "1 to 8 CPUs, 1 to 4 GiB of memory, 0 to 4 GPUs, 2 AMD GPUs"
    assert find("small").hardware() == "0.5 CPUs, 1 GiB of memory"
    assert find("secret").hardware() == "no more than it needs"


@pytest.mark.parametrize(
    ("profile", "line", "said"),
    [
        ("memroy: 2Gi", 4, "a profile has no key 'memroy'; did you mean 'memory'?"),
        ("memory: 2", 4, "'memory' is 2, which is less than a megabyte; give a unit, such as 512Mi or 4Gi"),
        ("memory: 2 GB", 4, "'memory': '2 GB' is not a quantity; write 500m, 2, 512Mi or 4Gi"),
        ("cpu: -1", 4, "'cpu' is -1; it must be more than zero"),
        ("cpu: {min: 4, max: 2}", 4, "'min' is 4, which is more than 'max', 2"),
        ("cpu: {min: 1, max: 4, default: 8}", 4, "'default' is 8, which is more than 'max', 4"),
        ("cpu: {request: 1, max: 4}", 4, "'cpu' has both 'request' and 'max': it is either fixed or a range"),
        ("cpu: {max: 4}", 4, "'cpu' is a range and needs 'min' and 'max'"),
        ("cpu: [1, 2]", 4, "'cpu' is a mapping of names to values"),
        ("gpus: one", 4, "'gpus' is a whole number of at least 0, not 'one'"),
        ("gpus: {count: 1, max: 2}", 4, "'gpus' has 'count' and a range: it is either fixed or a range"),
        ("gpus: {resource: GPU 1, count: 1}", 4, "'resource': 'GPU 1' " + NO_RESOURCE),
        ("hidden: maybe", 4, "'hidden' is true or false, not 'maybe'"),
        ("used_for: [servers]", 4, "'used_for' has no 'servers'; did you mean 'server'?"),
        ("idle_timeout: soon", 4, "'idle_timeout': 'soon' is not a time such as 90, 90s, 5m or 2h"),
        ("environment: {1A: x}", 4, "'1A' cannot be the name of an environment variable"),
        ("node_selector: {a: b c}", 4, "'b c' is not a label's value: letters, digits, '-', '_' and '.'"),
        ("tolerations: [{key: a, operator: In}]", 4, "'operator' is Equal or Exists, not 'In'"),
        ("volumes: [{name: a, mount_path: data, claim: c}]", 4, "'mount_path' is an absolute path, not 'data'"),
        ("volumes: [{name: a, mount_path: /a}]", 4, "a volume has one of claim, config_map, secret, empty_dir"),
        ("image: two words", 4, "'two words' is not an image's name"),
        ("cpu: 1\n    cpu: 2", 5, "'cpu' stands here twice"),
        ("deprecated: {replacement: smal}", 3, "the replacement 'smal' is no other profile; did you mean 'small'?"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(profile: str, line: int, said: str) -> None:
    text = f"profiles:\n  - slug: small\n  - slug: a\n    {profile}\n"
    assert problems(text) == [(line, said)]


def test_all_faults_are_named_at_once() -> None:
    text = """\
        profiles:
          - slug: Big One
            default: true
          - display_name: x
          - slug: a
            default: true
          - slug: a
        limit: {}
        """
    assert problems(text) == [
        (2, "'slug': 'Big One' is not a slug: lower-case letters, digits and '-', at most 40; for example 'big-one'"),
        (4, "the profile has no 'slug': the short name by which it is chosen"),
        (5, "the default is '' already, at line 2"),
        (7, "the slug 'a' stands at line 5 too"),
        (8, "the file has no key 'limit'; did you mean 'limits'?"),
    ]
    with pytest.raises(UsageError, match=r"site\.yaml, line 2: 'slug'") as caught:
        read(dedent(text), "site.yaml")
    assert "site.yaml, line 8: the file has no key 'limit'" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("- a", "the file is a mapping of names to values"),
        ("profiles:\n  - slug: [", "this is not YAML: "),
        ("profiles: !!python/object/apply:os.system [x]", "a profile is a mapping of names to values"),
    ],
)
def test_a_file_that_is_none(text: str, said: str) -> None:
    assert any(message.startswith(said) for _, message in problems(text))


def test_who_is_offered_what() -> None:
    found = read(FULL)
    assert [one.slug for one in found.offered(Use.TRAINING, [])] == ["small"]
    assert [one.slug for one in found.offered(Use.TRAINING, ["research"])] == ["small", "wide"]
    assert [one.slug for one in found.offered(Use.KERNEL, ["research"])] == ["small"]
    assert found.usable("old", Use.SERVER, []).slug == "old"  # not offered, still usable
    with pytest.raises(UsageError, match="there is no hardware profile 'wide'"):
        found.usable("wide", Use.SERVER, ["students"])
    with pytest.raises(UsageError, match="'wide' is for server, training, not for kernel"):
        found.usable("wide", Use.KERNEL, ["research"])
    with pytest.raises(UsageError, match="did you mean small\\? there are small"):
        found.usable("smal", Use.SERVER, [])


def test_where_any_amount_may_be_said_a_fixed_one_gives_way_and_a_range_holds() -> None:
    found = read(FULL)
    small, wide = found.usable("small", Use.TRAINING), found.usable("wide", Use.TRAINING)
    made = choose(small, Choice(cpu="3", gpus=2), any_amount=True)
    assert dict(made.requests) == dict(made.limits) == {"cpu": "3", "memory": "1Gi", "nvidia.com/gpu": "2"}
    assert choose(wide, Choice(gpus=1, accelerator="amd.com/gpu"), any_amount=True).limits["amd.com/gpu"] == "1"
    with pytest.raises(UsageError, match="allows 1 CPU to 8 CPUs, not 9 CPUs"):
        choose(wide, Choice(cpu="9"), any_amount=True)
    with pytest.raises(UsageError, match="not 5"):
        choose(wide, Choice(gpus=5), any_amount=True)
    with pytest.raises(UsageError, match="it cannot be changed"):
        choose(small, Choice(cpu="3"))


def test_limits_are_the_most_generous_of_ones_groups() -> None:
    found = read(FULL)
    nobody = found.limits_of([])
    assert (nobody.servers, nobody.memory, nobody.gpus, nobody.own_image) == (2, Decimal(8 * 2**30), None, False)
    both = found.limits_of(["research", "teachers"])
    assert (both.servers, both.memory, both.gpus, both.own_image) == (5, Decimal(8 * 2**30), 4, True)


@pytest.mark.parametrize(
    ("slug", "choice", "said"),
    [
        ("wide", Choice(cpu="9"), "allows 1 CPU to 8 CPUs, not 9 CPUs"),
        ("wide", Choice(cpu="lots"), "'lots' is not a quantity for cpu"),
        ("wide", Choice(memory="2Gi"), "has 4 GiB of memory; it cannot be changed"),
        ("wide", Choice(gpus=5), "allows 0 to 4 GPUs, not 5"),
        ("wide", Choice(gpus=-1), "allows 0 to 4 GPUs, not -1"),
        ("wide", Choice(accelerator="amd.com/gpu", gpus=1), "allows 2 AMD GPUs, not 1"),
        ("wide", Choice(accelerator="x.y/z"), "has no 'x.y/z'; it has nvidia.com/gpu, amd.com/gpu"),
        ("wide", Choice(image="evil/x:1"), "does not have the image 'evil/x:1'; it has lab:1, lab:2"),
        ("wide", Choice(shared_memory="5Gi"), "is more than the server has: 4 GiB of memory"),
        ("small", Choice(gpus=1), "'Small' has no GPUs"),
        ("small", Choice(image="a"), "does not let the image be chosen"),
    ],
)
def test_a_choice_outside_the_profile_is_refused(slug: str, choice: Choice, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose(find(slug), choice)


def test_a_choice_within_the_profile() -> None:
    got = choose(find("wide"), Choice(cpu="1500m", gpus=0, image="lab:2", memory="4096Mi"))
    assert got.requests == {"cpu": "1500m", "memory": "1Gi"}
    assert got.limits == {"cpu": "1500m", "memory": "4Gi"}
    assert (got.image, got.shared_memory) == ("lab:2", "512Mi")
    assert choose(find("wide"), Choice(image="own:1"), any_image=True).image == "own:1"
    assert choose(find("small"), Choice(cpu="0.5")).limits == {"cpu": "500m", "memory": "1Gi"}


TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [
            {"name": "proxy", "image": "proxy"},
            {"name": "main", "image": "mine", "env": [{"name": "ON", "value": "no"}]},
        ],
        "nodeSelector": {"zone": "a"},
        "volumes": [{"name": "code", "configMap": {"name": "c"}}],
    },
}


def test_a_pod_template_under_a_profile() -> None:
    before = copy.deepcopy(TEMPLATE)
    got = choose(find("wide"))
    made = pod_template(TEMPLATE, got, container="main")
    assert before == TEMPLATE
    assert made["spec"]["containers"][0] == {"name": "proxy", "image": "proxy"}
    main = made["spec"]["containers"][1]
    assert main["image"] == "lab:1"
    assert main["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
    }
    assert {entry["name"]: entry["value"] for entry in main["env"]} == {
        "NUMBER": "010",
        "WHERE": "$$(HOME)",  # a profile's text is text
        "ON": "no",  # the user's own word counts
    }
    assert made["spec"]["nodeSelector"] == {"zone": "a", "gpu-type": "a100"}
    assert made["spec"]["tolerations"] == [
        {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}
    ]
    assert made["spec"]["volumes"] == [
        {"name": "code", "configMap": {"name": "c"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "shared-data"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "10Gi"}},
    ]
    assert main["volumeMounts"] == [
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    assert pod_template(made, got, container="main") == made  # twice is once


def test_two_volumes_at_one_place_are_refused() -> None:
    taken = copy.deepcopy(TEMPLATE)
    taken["spec"]["containers"][1]["volumeMounts"] = [{"name": "code", "mountPath": "/data/"}]
    with pytest.raises(UsageError, match="/data is the place of the volume 'code' already"):
        pod_template(taken, choose(find("wide")), container="main")
    with pytest.raises(UsageError, match="no container 'other'"):
        pod_template(TEMPLATE, choose(find("wide")), container="other")


def test_the_traits_of_kubespawner() -> None:
    text = "profiles: [{slug: a, cpu: 500m, memory: {limit: 2Gi}, gpus: 1, environment: {T: '{x}'}}]"
    made = kubespawner_override(choose(read(text).profiles[0]))
    assert made == {
        "cpu_guarantee": 0.5,
        "cpu_limit": 0.5,
        "mem_guarantee": 2**31,
        "mem_limit": 2**31,
        "extra_resource_limits": {"nvidia.com/gpu": "1"},
        "extra_resource_guarantees": {"nvidia.com/gpu": "1"},
        "environment": {"T": "{{x}}"},  # KubeSpawner formats it
    }


def test_a_kernel_under_a_profile() -> None:
    spec = kernel_spec(find("wide"), argv=["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    assert spec["display_name"] == "Python 3 · wide"
    assert spec["metadata"]["kernel_provisioner"] == {
        "provisioner_name": "jupyterlab-kf",
        "config": {"profile": "wide"},
    }


# ------------------------------------------------------------------------------------------------- finding the file


def test_which_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "jupyter"))
    site = tmp_path / "jupyter" / "jupyterlab_kf" / "profiles.yaml"
    own = tmp_path / "data" / "profiles.yaml"
    named = tmp_path / "named.yaml"
    for path in (site, own, named):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"profiles: [{{slug: {path.parent.name[:4]}}}]")
    environ = {"KF_DATA_DIR": str(tmp_path / "data")}
    options = settings.load(environ)
    assert hardware.find(settings.load({**environ, "KF_PROFILES": str(named)})) == named
    assert hardware.find(options) == own
    own.unlink()
    assert hardware.find(options) == site
    with pytest.raises(UsageError, match="which is not there"):
        hardware.find(settings.load({"KF_PROFILES": str(tmp_path / "gone.yaml")}))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text("profiles: [{slug: one}]")
    assert [one.slug for one in hardware.load(path).profiles] == ["one"]
    path.write_text("profiles: [{slug: two}]")
    os.utime(path, ns=(1, 1))  # a clock too coarse to tell two writes apart is no change
    assert [one.slug for one in hardware.load(path).profiles] == ["two"]
