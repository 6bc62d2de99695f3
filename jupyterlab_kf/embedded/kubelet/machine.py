"""What this machine has, as a Node object says it. Reads the system; writes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.embedded.addresses import LOOPBACK
from jupyterlab_kf.embedded.supervisor import boot_id
from jupyterlab_kf.model import format_time

MAX_PODS: Final = 500
RESERVED: Final = 1 << 30
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def processors() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its cgroup's if that is less."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return 8 << 30
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def gpus() -> int:
    """NVIDIA devices."""
    try:
        return len(list(Path("/proc/driver/nvidia/gpus").iterdir()))
    except OSError:
        return len([p for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit()])


def capacity(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Capacity and allocatable; a part of the memory stays with the notebook."""
    total = memory()
    disk = shutil.disk_usage(folder).total
    have = {"cpu": str(processors()), "memory": f"{total >> 10}Ki", "pods": str(MAX_PODS)}
    have["ephemeral-storage"] = f"{disk >> 10}Ki"
    if count := gpus():
        have["nvidia.com/gpu"] = str(count)
    free = total - min(RESERVED, total // 10)
    allocatable = {**have, "memory": f"{free >> 10}Ki", "ephemeral-storage": str(int(Decimal(disk) * Decimal("0.9")))}
    return dict(sorted(have.items())), dict(sorted(allocatable.items()))


def architecture() -> str:
    """As Go names it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def node_labels(name: str) -> dict[str, str]:
    """The labels that every node has."""
    return {
        "kubernetes.io/arch": architecture(),
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": sys.platform,
    }


def node_info() -> dict[str, str]:
    """``status.nodeInfo``."""
    try:
        release = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        release = platform.platform()
    try:
        own = version("jupyterlab-kf")
    except PackageNotFoundError:
        own = "0"
    return {
        "architecture": architecture(),
        "bootID": boot_id(),
        "containerRuntimeVersion": f"process://{own}",
        "kernelVersion": platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": "v1.36.3",
        "machineID": "",
        "operatingSystem": sys.platform,
        "osImage": release,
        "systemUUID": "",
    }


def conditions(now: float, old: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conditions of a healthy node; the time of a condition that was so before is kept."""
    table = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    before = {c.get("type"): c for c in old}
    result = []
    for kind, status, reason, message in table:
        known = before.get(kind) or {}
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        result.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": format_time(now),
                "lastTransitionTime": since or format_time(now),
                "reason": reason,
                "message": message,
            }
        )
    return result


def node_status(name: str, folder: Path, now: float, old: dict[str, Any]) -> dict[str, Any]:
    """The whole ``status`` of the Node object."""
    have, free = capacity(folder)
    return {
        "addresses": [{"type": "InternalIP", "address": LOOPBACK}, {"type": "Hostname", "address": name}],
        "allocatable": free,
        "capacity": have,
        "conditions": conditions(now, old.get("conditions") or []),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": node_info(),
    }
