"""The real operators: what they need in the cluster before they run, and how they are run beside it.

They run with the service account, and so with exactly the rights, that their own manifests give them. The training
operator's webhooks are called at a loopback address instead of a Service; the certificate for that is put into the
Secret that the operator would otherwise fill, so that it finds it valid and uses it.
"""

from __future__ import annotations

import base64
import copy
import http.client
import ssl
from collections.abc import Iterable
from pathlib import Path

from bed import binaries, credentials, images
from bed.api import Api, Obj, until
from bed.plan import Plan

INIT_CONTAINER = Path(__file__).parents[3] / "hub_config" / "training-operator" / "init-container.yaml"
_TRAINING_NAMESPACE = "kubeflow"
_MPI_NAMESPACE = "mpi-operator"
# These names are the operator's own; its certificate controller checks them.
_WEBHOOK_SECRET = "training-operator-webhook-cert"
_WEBHOOK_AUTHORITY = "training-operator-ca"
_WEBHOOK_NAME = "training-operator.kubeflow.svc"
_WEBHOOK_CONFIGURATION = "validator.training-operator.kubeflow.org"
# The certificate controller looks for a file at this fixed path (and for nothing in it) before it says that it is
# ready; what the webhooks really serve with lies in the operator's own temporary folder.
CERTIFICATE_MARKER = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")


def install(plan: Plan, api: Api) -> None:
    """CRDs, rights and webhooks of the plan's operator."""
    if plan.operator == "none":
        return
    folder = plan.binaries[f"{plan.operator}-operator"]
    namespace = _TRAINING_NAMESPACE if plan.operator == "training" else _MPI_NAMESPACE
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    objects = [*binaries.objects(folder / "crds.json")]
    objects += [_in_namespace(item, namespace) for item in binaries.objects(folder / "rights.json")]
    if plan.operator == "training":
        secret = _serving_certificate(plan)
        objects += [secret, _webhooks(plan, folder, secret["data"]["ca.crt"])]
    api.apply_all(objects)
    _until_served(api, objects)


def install_further(plan: Plan, api: Api) -> None:
    """The plan's further CRDs, but for those that the operator brings in its own version."""
    own = binaries.objects(plan.binaries[f"{plan.operator}-operator"] / "crds.json") if plan.operator != "none" else []
    taken = {str(item["metadata"]["name"]) for item in own}
    for path in plan.crds:
        found = {str(item["metadata"]["name"]): item for item in binaries.objects(path)}
        new = [item for name, item in found.items() if name not in taken]
        api.apply_all(new)
        _until_served(api, new)
        taken |= set(found)


def command(plan: Plan) -> tuple[str, list[str], dict[str, str]]:
    """The name, command line and environment of the plan's operator."""
    name = f"{plan.operator}-operator"
    kubeconfig = str(plan.component_kubeconfig(name))
    binary = str(plan.binaries[name] / name)
    if plan.operator == "mpi":
        argv = [binary, f"--kubeConfig={kubeconfig}", f"--lock-namespace={_MPI_NAMESPACE}", "--kube-api-qps=100"]
        return name, [*argv, "--kube-api-burst=200"], {}
    argv = [
        binary,
        f"--kubeconfig={kubeconfig}",
        f"--health-probe-bind-address=127.0.0.1:{plan.ports['probe']}",
        "--metrics-bind-address=0",
        f"--webhook-server-port={plan.ports['webhook']}",
    ]
    if plan.node:
        argv.append(f"--mpi-kubectl-delivery-image={images.DELIVERY}")
        # Beside a real node as we tell administrators to run it; without one as it comes.
        argv.append(f"--pytorch-init-container-template-file={INIT_CONTAINER}")
    return name, argv, {"TMPDIR": str(plan.folder / "tmp"), "MY_POD_NAMESPACE": _TRAINING_NAMESPACE}


def mark_certificates() -> None:
    """Lay the marker that the operator looks for; asked again and again, since another cluster may take it away."""
    CERTIFICATE_MARKER.parent.mkdir(parents=True, exist_ok=True)
    CERTIFICATE_MARKER.touch()


def unmark_certificates() -> None:
    """Take the marker away, and its folders unless somebody else uses them."""
    CERTIFICATE_MARKER.unlink(missing_ok=True)
    for folder in (CERTIFICATE_MARKER.parent, CERTIFICATE_MARKER.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return


def _until_served(api: Api, objects: Iterable[Obj]) -> None:
    """The API server serves a new kind, and tells of it, a moment after it has accepted the definition."""
    wanted = {
        (f"{item['spec']['group']}/{version['name']}", item["spec"]["names"]["plural"])
        for item in objects
        if item["kind"] == "CustomResourceDefinition"
        for version in item["spec"]["versions"]
        if version["served"]
    }

    def served() -> bool:
        return all(name in api.resources(group) for group, name in wanted)

    until(served, seconds=60, what="service of the new kinds")


def _serves_webhooks(plan: Plan) -> bool:
    """Whether every webhook is there; the operator calls itself ready before it has registered the last one."""
    context = ssl.create_default_context(cadata=(plan.folder / "tmp" / "webhook-ca.crt").read_text())
    (configuration,) = binaries.objects(plan.binaries["training-operator"] / "webhooks.json")
    connection = http.client.HTTPSConnection("127.0.0.1", plan.ports["webhook"], context=context, timeout=2)
    try:
        for webhook in configuration["webhooks"]:
            connection.request("POST", webhook["clientConfig"]["service"]["path"], b"{}")
            answer = connection.getresponse()
            answer.read()
            if answer.status == http.HTTPStatus.NOT_FOUND:
                return False
    finally:
        connection.close()
    return True


def _serving_certificate(plan: Plan) -> Obj:
    authority = credentials.Authority.new(_WEBHOOK_AUTHORITY, rsa_keys=True, dns=[_WEBHOOK_AUTHORITY])
    serving = authority.server(_WEBHOOK_NAME, dns=[_WEBHOOK_NAME], addresses=["127.0.0.1"])
    folder = plan.folder / "tmp" / "k8s-webhook-server" / "serving-certs"
    folder.mkdir(parents=True, exist_ok=True)
    serving.write(folder, "tls")
    (plan.folder / "tmp" / "webhook-ca.crt").write_bytes(authority.pair.certificate)
    content = {
        "ca.crt": authority.pair.certificate,
        "ca.key": authority.pair.key,
        "tls.crt": serving.certificate,
        "tls.key": serving.key,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _WEBHOOK_SECRET, "namespace": _TRAINING_NAMESPACE},
        "data": {name: base64.b64encode(data).decode() for name, data in content.items()},
    }


def _webhooks(plan: Plan, folder: Path, authority: str) -> Obj:
    """The operator's own webhook configuration, with the loopback address in place of its Service."""
    (configuration,) = copy.deepcopy(binaries.objects(folder / "webhooks.json"))
    found: Obj = configuration
    found["metadata"]["name"] = _WEBHOOK_CONFIGURATION
    for webhook in found["webhooks"]:
        service = webhook["clientConfig"].pop("service")
        webhook["clientConfig"]["url"] = f"https://127.0.0.1:{plan.ports['webhook']}{service['path']}"
        webhook["clientConfig"]["caBundle"] = authority
    return found


def _in_namespace(item: Obj, namespace: str) -> Obj:
    """What the manifests leave to kustomize: the namespace of the service account."""
    placed: Obj = copy.deepcopy(item)
    if placed["kind"] == "ServiceAccount":
        placed["metadata"]["namespace"] = namespace
    for subject in placed.get("subjects", ()):
        if subject["kind"] == "ServiceAccount":
            subject["namespace"] = namespace
    return placed


def ready(plan: Plan, api: Api) -> bool:
    """Whether the operator has its certificates and controllers (training), or leads (mpi)."""
    if plan.operator == "mpi":
        leases = api.list("coordination.k8s.io/v1", "Lease", _MPI_NAMESPACE)
        return any(lease["spec"].get("holderIdentity") for lease in leases)
    mark_certificates()
    connection = http.client.HTTPConnection("127.0.0.1", plan.ports["probe"], timeout=2)
    try:
        connection.request("GET", "/readyz")
        is_ready = connection.getresponse().status == http.HTTPStatus.OK and _serves_webhooks(plan)
    except OSError:
        return False
    finally:
        connection.close()
    if is_ready:
        unmark_certificates()
    return is_ready
