"""The one real node: containerd, kubelet, kube-proxy and cluster DNS, in namespaces of their own.

Everything that a node changes on a machine, it changes in here: its mounts, network, firewall rules, host name and
processes live in kernel namespaces and vanish with their first process, however that ends. System-wide kernel settings
that a kubelet would write are covered by files that already say what it wants. What remains is a control group, which
the supervisor's caretaker removes.

Run as a program (inside the namespaces) it sets the node up and keeps it alive.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import provision

from bed import control_groups, registry, relay
from bed.api import Api, until
from bed.children import Children, die_with_parent
from bed.plan import NODE_ADDRESS, NODE_LABEL, NODE_NAME, POD_NETWORK, Plan

# Program -> the Debian package it comes from.
_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "busybox": "busybox-static",
    "bash": "bash",
    "dash": "dash",
    "getent": "libc-bin",
    "unshare": "util-linux",
    "mount": "mount",
}
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PACKAGE = "containernetworking-plugins"
# Bits of CapEff: without these no namespace, mount or network can be made.
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
# What a kubelet demands of the whole machine; it writes nothing where it reads these.
_KERNEL_SETTINGS = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}
_RUN = Path("/run/kf")
_CONTAINERD = _RUN / "containerd.sock"
_SYSTEM_SHARE = 0.2


def check() -> None:
    """MissingError with the reason where this machine cannot run a node; gets the packages where it may."""
    if sys.platform != "linux":
        raise provision.MissingError("a real node needs Linux")
    status = Path("/proc/self/status").read_text()
    capabilities = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    if os.geteuid() != 0 or not all(capabilities >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN)):
        raise provision.MissingError("a real node needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN")
    if packages := _missing_packages():
        apt = shutil.which("apt-get")
        if apt is None or os.environ.get("KF_PROVISION") != "1":
            raise provision.MissingError(f"a real node needs more programs (Debian: apt-get install {packages})")
        print(f"apt-get install {packages} ...", file=sys.stderr, flush=True)
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        provision._run([apt, "update", "-qq"], env=quiet)
        provision._run([apt, "install", "-y", "-qq", "--no-install-recommends", *packages.split()], env=quiet)


def command(plan: Plan) -> list[str]:
    """The command line that enters new namespaces and sets the node up in them."""
    control_groups.create(plan.cgroup)
    spaces = ["--mount", "--net", "--pid", "--ipc", "--uts"]
    settings = ["--fork", "--kill-child=KILL", "--mount-proc", "--propagation=private"]
    return ["unshare", *spaces, *settings, sys.executable, "-m", "bed.node", str(plan.folder / "plan.json")]


def allow_dns(plan: Plan, api: Api) -> None:
    """The rights of the cluster DNS, as CoreDNS' own deployment has them."""
    if not plan.node:
        return
    group, name = "rbac.authorization.k8s.io", "system:coredns"
    verbs = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": verbs},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
    ]
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    head = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
    api.apply(head | {"kind": "ClusterRole", "rules": rules})
    api.apply(head | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [account]})


def _missing_packages() -> str:
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if _cni_folder() is None:
        missing.add(_CNI_PACKAGE)
    return " ".join(sorted(missing))


def _cni_folder() -> Path | None:
    return next((folder for folder in _CNI_FOLDERS if (folder / "bridge").exists()), None)


class Node:
    """The node's processes, inside its namespaces."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = plan.folder / "node"
        self._failed = asyncio.Event()
        self._children = Children(plan.logs, lambda _name: self._failed.set())

    async def run(self) -> None:
        """Set up and stay until a part of it cannot be kept alive."""
        plan, folder, binaries = self._plan, self._folder, self._plan.binaries["node"]
        for part in ("containerd", "cni", "kubelet", "plugins", "var-lib", "var-log"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._mount()
        _network()
        self._configure()
        names = registry.serve(plan.images)
        await self._children.start("containerd", ["containerd", "--config", str(_RUN / "containerd.toml")])
        servers = [
            await relay.connect_proxy(plan.sockets / "node.sock"),
            await relay.tcp_to_unix(NODE_ADDRESS, plan.ports["api"], plan.sockets / "api.sock"),
        ]
        await asyncio.gather(self._import_images(), self._api_server())
        kubelet = [
            str(binaries / "kubelet"),
            f"--config={_RUN / 'kubelet.json'}",
            f"--kubeconfig={plan.component_kubeconfig('kubelet')}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
            f"--node-labels={NODE_LABEL}=real",
            f"--root-dir={folder / 'kubelet'}",
        ]
        await self._children.start("kubelet", kubelet)
        await self._children.start("kube-proxy", [str(binaries / "kube-proxy"), f"--config={_RUN / 'proxy.json'}"])
        await self._children.start("dns", [str(binaries / "dns"), "-conf", str(_RUN / "Corefile")])
        await self._failed.wait()
        for server in servers:
            server.close()
        names.shutdown()

    async def _import_images(self) -> None:
        await asyncio.to_thread(until, _CONTAINERD.exists, seconds=60, what="containerd's socket", every=0.05)
        for archive in self._plan.images:
            argv = ["ctr", "-a", str(_CONTAINERD), "-n", "k8s.io", "images", "import", str(archive)]
            process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
            if await process.wait():
                raise RuntimeError(f"containerd refused the image {archive}")

    async def _api_server(self) -> None:
        """A kubelet that finds no API server at its start waits long before it tries again."""
        context = ssl.create_default_context(cafile=self._plan.pki / "ca.crt")
        address = f"https://{NODE_ADDRESS}:{self._plan.ports['api']}/readyz"

        def answers() -> bool:
            try:
                with urllib.request.urlopen(address, context=context, timeout=5) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        await asyncio.to_thread(until, answers, seconds=60, what="the API server's answer")

    def _mount(self) -> None:
        """Folders that containerd and kubelet insist on become the node's own; the machine's stay as they are."""
        _run("mount", "--make-rshared", "/")  # volumes are propagated to containers; the machine is out of reach
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _RUN.mkdir()
        for part in ("lib", "log"):
            _run("mount", "--bind", str(self._folder / f"var-{part}"), f"/var/{part}")
        for name, value in _KERNEL_SETTINGS.items():
            cover = _RUN / name.replace("/", ".")
            cover.write_text(f"{value}\n")
            _run("mount", "--bind", str(cover), f"/proc/sys/{name}")
        socket.sethostname(NODE_NAME)

    def _configure(self) -> None:
        plan, folder = self._plan, self._folder
        (_RUN / "containerd.toml").write_text(_containerd(folder))
        registry.configure(_RUN / "registries")
        (_RUN / "cni").mkdir()
        (_RUN / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(folder)))
        (_RUN / "kubelet.json").write_text(json.dumps(_kubelet(plan, folder)))
        (_RUN / "proxy.json").write_text(json.dumps(_proxy(plan)))
        (_RUN / "Corefile").write_text(_corefile(plan))


def _network() -> None:
    """The bridge that pods hang on; it stands before the first pod because the cluster DNS listens on it."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "pods", "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "pods")
    _run("ip", "link", "set", "pods", "up")
    # Services are reached by a route; there is nothing behind it, since nothing leaves this network.
    _run("ip", "route", "add", "default", "dev", "pods")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _containerd(folder: Path) -> str:
    return f"""
version = 2
root = "{folder / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{_CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/kf/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{_RUN / "registries"}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_cni_folder()}"
    conf_dir = "{_RUN / "cni"}"
"""


def _pod_network(folder: Path) -> dict[str, object]:
    addresses = {"type": "host-local", "dataDir": str(folder / "cni"), "ranges": [[{"subnet": POD_NETWORK}]]}
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses | {"routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(plan: Plan, folder: Path) -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    floor = {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plan.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(plan.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(plan.pki / "kubelet.key"),
        "readOnlyPort": 0,
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{plan.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "volumePluginDir": str(folder / "plugins"),
        "evictionHard": floor | {"nodefs.inodesFree": "1%"},
        # How full a volume is, it looks at each minute, up to two with jitter: too seldom for a test that fills one.
        "volumeStatsAggPeriod": "5s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "enforceNodeAllocatable": ["pods"],
        "systemReserved": {"memory": str(int(memory * _SYSTEM_SHARE))},
        "maxPods": 100,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    }


def _proxy(plan: Plan) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(plan.component_kubeconfig("kube-proxy"))},
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": NODE_NAME,
        "oomScoreAdj": 0,
        # These limits are the whole machine's; the node leaves them alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "200ms"},
    }


def _corefile(plan: Plan) -> str:
    return f"""
.:53 {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {plan.component_kubeconfig("dns")}
        pods insecure
        ttl 2
    }}
    cache 2
}}
"""


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def main() -> int:
    """The first process of its process namespace: it inherits every orphan, and its end is everybody's end."""
    plan = Plan.read(Path(sys.argv[1]))
    child = os.fork()
    if child == 0:
        die_with_parent(signal.SIGKILL)
        asyncio.run(Node(plan).run())
        return 1
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
