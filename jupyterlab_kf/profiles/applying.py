"""What a profile makes of a pod, of a KubeSpawner and of a kernel. Pure: templates are copied, never changed.

What a person chose is checked against the profile here and nowhere else, so that a form, a query string, a REST body, a
magic and a kernel spec are refused in the same words.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles.values import GPU, Accelerator, Amount, Profile, Volume

PROVISIONER: Final = "jupyterlab-kf"
"""The name under which kernels find our provisioner."""
_SHM: Final = "shared-memory"
_MEBI: Final = 2**20


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person set within a profile; empty and None leave it to the profile.

    Attributes:
        accelerator: the resource name of the GPUs, where the profile has several kinds.
    """

    cpu: str = ""
    memory: str = ""
    gpus: int | None = None
    accelerator: str = ""
    image: str = ""
    shared_memory: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """A profile and a choice within it, checked: what a container gets.

    Attributes:
        requests: resource name to quantity.
        limits: resource name to quantity.
        image: empty where the profile leaves it open.
        shared_memory: size of ``/dev/shm``; empty for the node's default.
    """

    profile: Profile
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    image: str = ""
    shared_memory: str = ""

    def amounts(self) -> dict[str, Decimal]:
        """What is asked of a node, as numbers."""
        return {name: quantities.parse(value) for name, value in {**self.limits, **self.requests}.items()}


def choose(
    profile: Profile, choice: Choice = Choice(), *, any_image: bool = False, any_amount: bool = False
) -> Hardware:
    """The hardware of a choice.

    Args:
        profile: the profile.
        choice: what the person set.
        any_image: the person may take an image that is not in the profile's list.
        any_amount: the person may say another amount where the profile has a fixed one or none; a range still holds.

    Raises:
        UsageError: the choice is not within the profile; the message says what is.
    """
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for resource, amount, wanted in (("cpu", profile.cpu, choice.cpu), ("memory", profile.memory, choice.memory)):
        request, limit = _moved(profile, resource, amount, wanted, fixed=not any_amount)
        if request:
            requests[resource] = request
        if limit:
            limits[resource] = limit
    resource, count = _counted(profile, choice, fixed=not any_amount)
    if count:
        # Kubernetes takes extended resources only with equal requests and limits.
        requests[resource] = limits[resource] = str(count)
    return Hardware(
        profile,
        requests,
        limits,
        image=_image(profile, choice.image, any_image=any_image),
        shared_memory=_shared_memory(profile, choice.shared_memory, limits.get("memory", "")),
    )


def _moved(profile: Profile, resource: str, amount: Amount, wanted: str, *, fixed: bool) -> tuple[str, str]:
    """Request and limit."""
    if not wanted:
        return amount.request, amount.limit
    try:
        value = quantities.parse(wanted)
    except UsageError:
        raise UsageError(f"{wanted!r} is not a quantity for {resource}", hint="write 500m, 2, 512Mi or 4Gi") from None
    name, chosen = profile.display_name, quantities.canonical(wanted)
    if not amount.movable and not fixed:
        return chosen, chosen
    if not amount.movable:
        if value in [quantities.parse(one) for one in (amount.request, amount.limit) if one]:
            return amount.request, amount.limit
        has = amount.limit or amount.request
        said = f"has {quantities.in_words(resource, quantities.parse(has))}" if has else f"sets no {resource}"
        raise UsageError(f"the hardware profile {name!r} {said}; it cannot be changed", hint="choose another profile")
    low, high = quantities.parse(amount.minimum), quantities.parse(amount.maximum)
    if not low <= value <= high:
        raise UsageError(
            f"the hardware profile {name!r} allows {quantities.in_words(resource, low)} to "
            f"{quantities.in_words(resource, high)}, not {quantities.in_words(resource, value)}"
        )
    return chosen, chosen


def _counted(profile: Profile, choice: Choice, *, fixed: bool) -> tuple[str, int]:
    """The resource name of the GPUs and how many."""
    kinds = {one.resource: one for one in profile.accelerators}
    if choice.accelerator and choice.accelerator not in kinds:
        known = ", ".join(kinds) or "none"
        raise UsageError(f"the hardware profile {profile.display_name!r} has no {choice.accelerator!r}; it has {known}")
    if not kinds:
        if choice.gpus and not fixed:
            return GPU, choice.gpus
        if choice.gpus:
            raise UsageError(
                f"the hardware profile {profile.display_name!r} has no GPUs", hint="choose another profile"
            )
        return "", 0
    kind = kinds[choice.accelerator] if choice.accelerator else profile.accelerators[0]
    count = kind.default if choice.gpus is None else choice.gpus
    if (fixed or kind.movable) and not kind.minimum <= count <= kind.maximum:
        raise UsageError(f"the hardware profile {profile.display_name!r} allows {_range(kind)}, not {count}")
    return kind.resource, count


def _range(kind: Accelerator) -> str:
    count = f"{kind.minimum} to {kind.maximum}" if kind.movable else str(kind.default)
    return f"{count} {kind.display_name}{'' if kind.maximum == 1 else 's'}"


def _image(profile: Profile, wanted: str, *, any_image: bool) -> str:
    if not wanted:
        return profile.images[0] if profile.images else ""
    if any(character.isspace() for character in wanted):
        raise UsageError(f"{wanted!r} is not an image's name")
    if wanted in profile.images or any_image:
        return wanted
    if not profile.images:
        raise UsageError(f"the hardware profile {profile.display_name!r} does not let the image be chosen")
    listed = ", ".join(profile.images)
    raise UsageError(
        f"the hardware profile {profile.display_name!r} does not have the image {wanted!r}; it has {listed}"
    )


def _shared_memory(profile: Profile, wanted: str, memory: str) -> str:
    if not wanted:
        return profile.shared_memory
    try:
        value = quantities.parse(wanted)
    except UsageError:
        raise UsageError(f"{wanted!r} is not a size for shared memory", hint="write 512Mi or 2Gi") from None
    if value < _MEBI:
        raise UsageError(f"shared memory of {wanted} is less than a megabyte", hint="write 512Mi or 2Gi")
    # What is in /dev/shm counts as the container's memory.
    if memory and value > quantities.parse(memory):
        most = quantities.in_words("memory", quantities.parse(memory))
        raise UsageError(f"shared memory of {wanted} is more than the server has: {most}")
    return quantities.canonical(wanted)


def pod_template(template: Obj, hardware: Hardware, *, container: str = "") -> Obj:
    """The pod template (``metadata`` and ``spec``) under a profile; applying it twice changes nothing.

    Resources, image and shared memory are the profile's. Environment that the container has already stays: what a
    person wrote counts more than what a profile suggests.

    Args:
        template: a pod or pod template.
        hardware: the checked choice.
        container: which container gets the resources; the first one when empty.

    Raises:
        UsageError: the template has a volume of the same name or at the same place that is another one.
    """
    made = copy.deepcopy(template)
    spec: dict[str, Any] = made.setdefault("spec", {})
    main = _container(spec, container)
    if hardware.requests or hardware.limits:
        main["resources"] = {"requests": dict(hardware.requests), "limits": dict(hardware.limits)}
    if hardware.image:
        main["image"] = hardware.image
    profile = hardware.profile
    if profile.environment:
        present = {entry["name"] for entry in main.get("env") or ()}
        added = [{"name": n, "value": v.replace("$(", "$$(")} for n, v in profile.environment if n not in present]
        main["env"] = [*added, *(main.get("env") or ())]
    if profile.node_selector:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **dict(profile.node_selector)}
    tolerations = [one.manifest() for one in profile.tolerations]
    if missing := [one for one in tolerations if one not in (spec.get("tolerations") or ())]:
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *missing]
    if hardware.shared_memory:
        source = {"emptyDir": {"medium": "Memory", "sizeLimit": hardware.shared_memory}}
        _mount(spec, main, {"name": _SHM, **source}, {"mountPath": "/dev/shm"})  # noqa: S108  the node's own
    for volume in profile.volumes:
        mount: dict[str, Any] = {"mountPath": volume.mount_path}
        if volume.sub_path:
            mount["subPath"] = volume.sub_path
        if volume.read_only:
            mount["readOnly"] = True
        _mount(spec, main, {"name": volume.name, **_source(volume)}, mount)
    return made


def _container(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    containers: list[dict[str, Any]] = spec.get("containers") or []
    found = next((one for one in containers if not name or one.get("name") == name), None)
    if found is None:
        raise UsageError(f"the pod has no container {name!r}" if name else "the pod has no container")
    return found


def _source(volume: Volume) -> dict[str, Any]:
    match volume.source:
        case "claim":
            return {"persistentVolumeClaim": {"claimName": volume.target}}
        case "config_map":
            return {"configMap": {"name": volume.target}}
        case "secret":
            return {"secret": {"secretName": volume.target}}
        case _:
            return {"emptyDir": {"sizeLimit": volume.target} if volume.target else {}}


def _mount(spec: dict[str, Any], container: dict[str, Any], volume: Obj, mount: Obj) -> None:
    volumes, mounts = list(spec.get("volumes") or ()), list(container.get("volumeMounts") or ())
    full = {"name": volume["name"], **mount}
    other = next((one for one in mounts if one["mountPath"].rstrip("/") == mount["mountPath"].rstrip("/")), None)
    if other is not None and other != full:
        raise UsageError(f"{mount['mountPath']} is the place of the volume {other['name']!r} already")
    same = next((one for one in volumes if one["name"] == volume["name"]), None)
    if same is not None and same != volume:
        raise UsageError(f"the pod has another volume {volume['name']!r} already")
    if same is None:
        spec["volumes"] = [*volumes, volume]
    if other is None:
        container["volumeMounts"] = [*mounts, full]


def kubespawner_override(hardware: Hardware) -> dict[str, Any]:
    """The traits of KubeSpawner that stand for it: what a ``profile_list`` entry holds as ``kubespawner_override``.

    Braces in texts are doubled, as KubeSpawner formats them. Shared memory and volumes are in ``volumes`` and
    ``volume_mounts``.
    """
    pod = pod_template({"spec": {"containers": [{"name": "notebook"}]}}, hardware)["spec"]
    main = pod["containers"][0]
    extra = {name: value for name, value in hardware.limits.items() if name not in ("cpu", "memory")}
    made: dict[str, Any] = {
        "cpu_guarantee": _float(hardware.requests, "cpu"),
        "cpu_limit": _float(hardware.limits, "cpu"),
        "mem_guarantee": _bytes(hardware.requests),
        "mem_limit": _bytes(hardware.limits),
        "extra_resource_limits": extra,
        "extra_resource_guarantees": extra,
        "node_selector": pod.get("nodeSelector", {}),
        "tolerations": pod.get("tolerations", []),
        "environment": {name: _escaped(value) for name, value in hardware.profile.environment},
        "volumes": pod.get("volumes", []),
        "volume_mounts": main.get("volumeMounts", []),
        "image": hardware.image,
    }
    return {name: value for name, value in made.items() if value not in (None, {}, [], "")}


def _float(values: Mapping[str, str], name: str) -> float | None:
    return float(quantities.parse(values[name])) if name in values else None


def _bytes(values: Mapping[str, str]) -> int | None:
    return int(quantities.parse(values["memory"])) if "memory" in values else None


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def kernel_spec(profile: Profile, *, argv: Iterable[str], language: str = "python", title: str = "Python 3") -> Obj:
    """A Jupyter kernel spec (``kernel.json``) that runs a kernel of these words under the profile."""
    return {
        "argv": list(argv),
        "display_name": f"{title} · {profile.display_name}",
        "language": language,
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": {"profile": profile.slug}},
        },
    }
