"""The command lines of a control plane and the files that they name.

Everything listens on loopback, on ports of its own. The API server is set up as installers do it: TLS, client
certificates, Node and RBAC authorisation, service accounts, an audit log; each component has an identity of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from bed import credentials
from bed.plan import NODE_ADDRESS, NODE_NAME, SERVICE_ADDRESS, SERVICE_NETWORK, Plan

ADMINISTRATORS = "system:masters"
# Component -> the user and groups that Kubernetes' own RBAC rules know it by.
IDENTITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
    "kubelet": (f"system:node:{NODE_NAME}", ("system:nodes",)),
    "dns": ("system:serviceaccount:kube-system:coredns", ("system:serviceaccounts",)),
    "kwok": ("kwok", (ADMINISTRATORS,)),
    "storage": ("storage", (ADMINISTRATORS,)),
    "training-operator": ("system:serviceaccount:kubeflow:training-operator", ("system:serviceaccounts",)),
    "mpi-operator": ("system:serviceaccount:mpi-operator:mpi-operator", ("system:serviceaccounts",)),
}
ON_NODE = ("kube-proxy", "kubelet", "dns")
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # What the control plane tells itself all day long says nothing about the tests.
        {
            "level": "None",
            "users": ["system:apiserver", "kwok", "storage", "system:kube-scheduler", "system:kube-proxy"],
        },
        {"level": "None", "userGroups": ["system:nodes"]},
        {"level": "None", "nonResourceURLs": ["/readyz*", "/healthz*", "/livez*"]},
        {"level": "Metadata"},
    ],
}


def prepare(plan: Plan) -> None:
    """Write every key, certificate, kubeconfig and configuration file of the control plane."""
    plan.pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = credentials.Authority.new("kubernetes")
    authority.pair.write(plan.pki, "ca")
    names = ["localhost", "kubernetes", *(f"kubernetes.default{tail}" for tail in ("", ".svc", ".svc.cluster.local"))]
    addresses = ["127.0.0.1", SERVICE_ADDRESS, NODE_ADDRESS]
    authority.server("kube-apiserver", dns=names, addresses=addresses).write(plan.pki, "api")
    authority.server(NODE_NAME, dns=[NODE_NAME], addresses=[NODE_ADDRESS]).write(plan.pki, "kubelet")
    authority.client("kube-apiserver-kubelet-client", [ADMINISTRATORS]).write(plan.pki, "api-kubelet")
    private, public = credentials.signing_key()
    credentials.write_private(plan.pki / "service-accounts.key", private)
    (plan.pki / "service-accounts.pub").write_bytes(public)
    for component, (user, groups) in IDENTITIES.items():
        inside = f"https://{NODE_ADDRESS}:{plan.ports['api']}" if component in ON_NODE else plan.server
        text = credentials.kubeconfig(inside, authority.pair.certificate, authority.client(user, groups), user=user)
        credentials.write_private(plan.component_kubeconfig(component), text.encode())
    admin = authority.client("admin", [ADMINISTRATORS])
    text = credentials.kubeconfig(plan.server, authority.pair.certificate, admin, user="admin")
    credentials.write_private(plan.kubeconfig, text.encode())
    _write(plan.folder / "audit-policy.json", _AUDIT)
    _write(plan.folder / "scheduler.json", _scheduler(plan))
    if plan.node:
        _write(plan.folder / "egress.json", _egress(plan.sockets / "node.sock"))


def etcd(plan: Plan) -> list[str]:
    """The store; what it keeps ends with the cluster, so nothing waits for the disk."""
    client, peer = (f"http://127.0.0.1:{plan.ports[name]}" for name in ("etcd", "etcd-peer"))
    return [
        str(plan.binaries["control-plane"] / "etcd"),
        f"--data-dir={plan.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(plan: Plan) -> list[str]:
    """The API server."""
    pki = plan.pki
    options = [
        str(plan.binaries["control-plane"] / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{plan.ports['etcd']}",
        "--bind-address=127.0.0.1",
        f"--secure-port={plan.ports['api']}",
        # What the Service "kubernetes" leads to: this address exists inside the real node's network only.
        f"--advertise-address={NODE_ADDRESS}",
        f"--tls-cert-file={pki / 'api.crt'}",
        f"--tls-private-key-file={pki / 'api.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--kubelet-client-certificate={pki / 'api-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'api-kubelet.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--audit-policy-file={plan.folder / 'audit-policy.json'}",
        f"--audit-log-path={plan.audit_log}",
        "--profiling=false",
    ]
    if plan.node:
        options.append(f"--egress-selector-config-file={plan.folder / 'egress.json'}")
    return options


def controller_manager(plan: Plan) -> list[str]:
    """Kubernetes' own controllers."""
    kubeconfig = plan.component_kubeconfig("kube-controller-manager")
    return [
        str(plan.binaries["control-plane"] / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={plan.pki / 'service-accounts.key'}",
        f"--root-ca-file={plan.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={plan.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={plan.pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        # Every twenty seconds it fails and removes what is being deleted and has no node: here the tests say when a pod
        # that nobody runs has ended.
        "--controllers=*,-pod-garbage-collector-controller",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def scheduler(plan: Plan) -> list[str]:
    """The scheduler."""
    binary = plan.binaries["control-plane"] / "kube-scheduler"
    return [str(binary), f"--config={plan.folder / 'scheduler.json'}", "--secure-port=0"]


def _scheduler(plan: Plan) -> dict[str, object]:
    connection = {"kubeconfig": str(plan.component_kubeconfig("kube-scheduler")), "qps": 500, "burst": 1000}
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": connection,
    }


def _egress(path: Path) -> dict[str, object]:
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(path)}}}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
