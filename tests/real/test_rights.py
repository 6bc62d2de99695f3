"""That the roles in hub_config/rbac are enough for every feature, and for nothing else.

The features run against a real API server with RBAC on, in a namespace that enforces Pod Security ``restricted``. What
was asked, by the server's own audit log, is compared with what the roles allow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from bed.api import Api, ApiStatusError, until
from bed.cluster import RealCluster
from rights import RBAC, give, restrict, role

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "manifests"
Make = Callable[[RealCluster], str]
Use = tuple[str, str, str]
USER = ("viewer", "trainer", "results")
# Their ranks are started through a daemon that wants to be root in its container.
UNCONFINED = {"mpi-v2beta1"}
# Containers that the operator itself puts before some pods, without saying how they are confined.
INJECTED = {"pytorch": "init-pytorch", "mpi": "kubectl-delivery"}
# A day in one framework: that the others' kinds get the same rule is seen in the file.
TRAINING = {"tfjobs", "pytorchjobs", "mpijobs", "mxjobs", "chainerjobs"}
FORBIDDEN_VERBS = {"*", "impersonate", "bind", "escalate", "deletecollection"}
FORBIDDEN_RESOURCES = {"*", "secrets", "pods/exec", "pods/attach", "pods/portforward", "roles", "rolebindings", "nodes"}


# The roles that are shipped, by their files, and by the names that they have on a cluster.
AUTHORITY = "rbac.authorization.k8s.io"
EXAMPLES = ("bindings", "monitor-account")  # for an administrator to apply where they are wanted
FILES = sorted(path.stem for path in RBAC.glob("*.yaml") if path.stem not in ("kustomization", *EXAMPLES))
ROLES = {role(file)["metadata"]["name"] for file in FILES}


def granted(*names: str) -> set[Use]:
    """Everything that roles of ours allow."""
    return {use for name in names for use in allowed(role(name))}


def allowed(role: dict[str, Any]) -> set[Use]:
    """Group, resource and verb of everything that a role allows; the kinds of training jobs as one."""
    return {
        (group, "training jobs" if resource in TRAINING else resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(cluster: RealCluster, user: str, namespace: str) -> set[Use]:
    """What a user was let do in a namespace."""
    found = set()
    for event in cluster.audit():
        ref = event.get("objectRef") or {}
        allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow"
        if event["user"].get("username") == user and ref.get("namespace") == namespace and allowed:
            resource = ref["resource"] + (f"/{ref['subresource']}" if "subresource" in ref else "")
            found.add((ref.get("apiGroup", ""), "training jobs" if resource in TRAINING else resource, event["verb"]))
    return found


@pytest.mark.parametrize("file", [*FILES, *EXAMPLES])
def test_no_role_has_what_none_may_have(file: str) -> None:
    for found in yaml.safe_load_all((RBAC / f"{file}.yaml").read_text()):
        assert found["kind"] in ("Role", "RoleBinding", "ServiceAccount")
        for rule in found.get("rules", ()):
            assert not FORBIDDEN_VERBS & set(rule["verbs"])
            # What a kernel is told is written and never read.
            writes = rule["resources"] == ["secrets"] and rule["verbs"] == ["create"]
            assert writes or not FORBIDDEN_RESOURCES & set(rule["resources"])
            assert "*" not in rule["apiGroups"]
            if TRAINING & set(rule["resources"]):
                assert set(rule["resources"]) == TRAINING, "every framework has the same rights"


class Day(Protocol):
    """A day of a user in a namespace, as a program of this folder; answers the rights that it took."""

    def __call__(self, space: str, program: str, user: str, **environment: str) -> set[tuple[str, str, str]]: ...


@pytest.fixture
def day(node_cluster: RealCluster, tmp_path: Path) -> Day:
    def spent(space: str, program: str, user: str, **environment: str) -> set[tuple[str, str, str]]:
        given = {
            "KUBECONFIG": str(node_cluster.kubeconfig_for(user, namespace=space)),
            "KF_DATA_DIR": str(tmp_path),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        done = subprocess.run(
            [sys.executable, str(HERE / program)],
            env=os.environ | given | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
        assert "the day is done" in done.stdout, done.stdout[-3000:] + done.stderr[-5000:]
        return used(node_cluster, user, space)

    return spent


def test_a_day_takes_exactly_the_rights_of_the_roles(
    node_cluster: RealCluster, namespace: Make, day: Day, tmp_path: Path
) -> None:
    space = namespace(node_cluster)
    restrict(node_cluster.api, space)
    give(node_cluster.api, space, "ada", *USER)
    uses = day(space, "day.py", "ada", IPYTHONDIR=str(tmp_path))
    assert uses - granted(*USER) == set(), "used, but not by these roles"
    assert granted(*USER) - uses == set(), "granted, but never used"


def test_a_hub_takes_exactly_the_rights_of_its_role(node_cluster: RealCluster, namespace: Make, day: Day) -> None:
    space, api = namespace(node_cluster), node_cluster.api
    restrict(api, space)
    give(api, space, "hub", "hub")
    quota = {"hard": {"persistentvolumeclaims": "1"}}
    api.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": space}, "spec": quota}
    )
    uses = day(space, "hub_day.py", "hub", HUB_NAMESPACE=space)
    assert uses - granted("hub") == set(), "used, but not by this role"
    assert granted("hub") - uses == set(), "granted, but never used"


def test_kernels_in_pods_take_exactly_the_rights_of_their_role(
    node_cluster: RealCluster, namespace: Make, day: Day, tmp_path: Path
) -> None:
    space, api = namespace(node_cluster), node_cluster.api
    restrict(api, space)
    give(api, space, "kay", "viewer", "kernels")
    # The node's network does not lead here. In a pod of the cluster nothing beside the two roles is needed.
    way = {"name": "forward", "namespace": space}
    rule = {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}
    api.create({"apiVersion": f"{AUTHORITY}/v1", "kind": "Role", "metadata": way, "rules": [rule]})
    to = {"apiGroup": AUTHORITY, "kind": "Role", "name": "forward"}
    user = {"apiGroup": AUTHORITY, "kind": "User", "name": "kay"}
    api.create(
        {"apiVersion": f"{AUTHORITY}/v1", "kind": "RoleBinding", "metadata": way, "roleRef": to, "subjects": [user]}
    )
    uses = day(
        space,
        "kernel_day.py",
        "kay",
        KF_PROFILES=str(tmp_path / "profiles.yaml"),
        JUPYTER_PATH=str(tmp_path / "share" / "jupyter"),
        JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"),
    ) - {("", "pods/portforward", verb) for verb in rule["verbs"]}
    assert uses - granted("viewer", "kernels") == set(), "used, but not by these roles"
    assert granted("kernels") - uses == set(), "granted, but never used"


def test_kustomize_puts_the_roles_into_a_namespace_and_the_example_binds_them(
    real_cluster: RealCluster, namespace: Make, kubectl_path: Path, tmp_path: Path
) -> None:
    space = namespace(real_cluster)

    def kubectl(*words: str, stdin: str | None = None) -> str:
        command = [str(kubectl_path), f"--kubeconfig={real_cluster.kubeconfig}", "-n", space, *words]
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, env=environment)
        return done.stdout + done.stderr

    def lines(said: str, end: str) -> set[str]:
        return {line.split(" ")[0].rpartition("/")[2] for line in said.splitlines() if line.endswith(end)}

    assert lines(kubectl("apply", "-k", str(RBAC)), "created") == ROLES
    assert lines(kubectl("apply", "-k", str(RBAC)), "unchanged") == ROLES
    for path in FILES:
        made = real_cluster.api.get("rbac.authorization.k8s.io/v1", "Role", role(path)["metadata"]["name"], space)
        assert made["rules"] == role(path)["rules"]
    example = (RBAC / "bindings.yaml").read_text().replace("namespace: default", f"namespace: {space}")
    assert lines(kubectl("apply", "-f", "-", stdin=example), "created") == {"kf-viewer", "kf-trainer", "kf-results"}
    notebook = f"--as=system:serviceaccount:{space}:notebook"
    for words, answer in (
        ("create pytorchjobs.kubeflow.org", "yes"),
        ("get pods --subresource=log", "yes"),
        ("create persistentvolumeclaims", "yes"),
        ("get secrets", "no"),
        ("create pods --subresource=exec", "no"),
        ("create experiments.kubeflow.org", "no"),
        ("create seldondeployments.machinelearning.seldon.io", "no"),
        ("list pods --all-namespaces", "no"),
    ):
        assert kubectl("auth", "can-i", *words.split(" "), notebook).splitlines()[-1] == answer, words


def test_who_has_every_role_can_give_nobody_anything_and_play_nobody(
    real_cluster: RealCluster, namespace: Make
) -> None:
    space = namespace(real_cluster)
    give(real_cluster.api, space, "mallory", *FILES)
    api = Api(real_cluster.kubeconfig_for("mallory", namespace=space))
    group = "rbac.authorization.k8s.io"
    for verb, of, resource in (
        *(
            (verb, group, kind)
            for verb in ("escalate", "bind", "create", "patch")
            for kind in ("roles", "clusterroles")
        ),
        *((verb, group, "rolebindings") for verb in ("create", "patch", "update")),
        *(("impersonate", "", who) for who in ("users", "groups", "serviceaccounts")),
        ("create", "", "serviceaccounts/token"),
        ("get", "", "secrets"),
    ):
        main, _, below = resource.partition("/")
        asked = {"namespace": space, "verb": verb, "group": of, "resource": main, "subresource": below}
        review = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        review |= {"spec": {"resourceAttributes": asked}}
        found = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        assert found["status"]["allowed"] is False, (verb, resource)
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "more", "namespace": space},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "mallory"}],
    }
    with pytest.raises(ApiStatusError, match="cannot create resource"):
        api.create(binding)
    api.close()


@pytest.fixture
def intruder(real_cluster: RealCluster, namespace: Make) -> Iterator[tuple[Api, str, str]]:
    """A user with the user's roles in a namespace, that namespace, and another one."""
    mine, other = namespace(real_cluster), namespace(real_cluster)
    give(real_cluster.api, mine, "eve", "viewer", "trainer")
    api = Api(real_cluster.kubeconfig_for("eve", namespace=mine))
    yield api, mine, other
    api.close()


def _pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/namespaces/{other}/pods", None),
        ("GET", "/apis/kubeflow.org/v1/namespaces/{other}/pytorchjobs", None),
        ("GET", "/apis/kubeflow.org/v1/pytorchjobs", None),
        ("GET", "/api/v1/namespaces/{other}/configmaps/kube-root-ca.crt", None),
        ("GET", "/api/v1/namespaces/{mine}/secrets", None),
        ("GET", "/api/v1/namespaces/{mine}/secrets/any", None),
        ("GET", "/api/v1/nodes", None),
        ("POST", "/api/v1/namespaces/{mine}/pods", _pod(containers=[{"name": "c", "image": "x"}])),
        ("POST", "/api/v1/namespaces/{mine}/pods/p/exec?command=id", None),
        ("POST", "/api/v1/namespaces/{mine}/pods/p/portforward", None),
        ("POST", "/api/v1/namespaces/{mine}/pods/p/ephemeralcontainers", None),
        ("GET", "/api/v1/namespaces/{mine}/services/x/proxy/", None),
        ("POST", "/api/v1/namespaces/{mine}/serviceaccounts/default/token", {"spec": {}}),
        ("DELETE", "/api/v1/namespaces/{mine}/configmaps", None),
        ("DELETE", "/api/v1/namespaces/{mine}", None),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{mine}/roles",
            {"kind": "Role", "metadata": {"name": "r"}, "rules": []},
        ),
        ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/{mine}/roles/kf-viewer", {"rules": []}),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{mine}/rolebindings",
            {
                "kind": "RoleBinding",
                "metadata": {"name": "b"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
                "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}],
            },
        ),
    ],
)
def test_what_must_be_refused(intruder: tuple[Api, str, str], method: str, path: str, body: Any) -> None:
    api, mine, other = intruder
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(ApiStatusError) as refused:
        api.request(method, path.format(mine=mine, other=other), body, content_type=kind)
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden"), refused.value


def test_nobody_else_can_be_played(intruder: tuple[Api, str, str]) -> None:
    api, mine, _ = intruder
    headers = {"Accept": "application/json", "Impersonate-User": "admin", "Impersonate-Group": "system:masters"}
    response, content = api._send("GET", f"/api/v1/namespaces/{mine}/pods", None, headers)
    assert response.status == 403
    assert b"cannot impersonate" in content


ESCAPES: dict[str, dict[str, Any]] = {
    "privileged": {"container": {"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}},
    "root": {"container": {"securityContext": {"runAsUser": 0}}},
    "capabilities": {"container": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}},
    "escalation": {"container": {"securityContext": {"allowPrivilegeEscalation": True}}},
    "unconfined": {"pod": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
    "host-path": {"pod": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}},
    "host-network": {"pod": {"hostNetwork": True}},
    "host-pid": {"pod": {"hostPID": True}},
    "host-ipc": {"pod": {"hostIPC": True}},
    "host-port": {"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    "sysctl": {"pod": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}},
}


def _golden(name: str) -> list[dict[str, Any]]:
    return [doc for doc in yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()) if doc]


def _templates(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod templates of a job of any kind, by their form."""
    stack: list[Any] = [job["spec"]]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if "template" in one:
                yield one["template"]
            stack += [value for key, value in one.items() if key != "template"]


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in GOLDEN.glob("*.yaml") if not path.stem.startswith("study"))
)
def test_every_pod_template_passes_restricted(real_cluster: RealCluster, namespace: Make, name: str) -> None:
    space, api = namespace(real_cluster), real_cluster.api
    restrict(api, space)
    refused, seen = [], 0
    for job in _golden(name):
        for template in _templates(job) if "Job" in job["kind"] else ():
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{seen}", "namespace": space}}
            seen += 1
            try:
                api.request("POST", f"/api/v1/namespaces/{space}/pods?dryRun=All", {**pod, "spec": template["spec"]})
            except ApiStatusError as error:
                refused.append(error.message)
    assert seen
    assert bool(refused) == (name in UNCONFINED), refused


@pytest.mark.parametrize("name", ["pytorch", "pytorch-elastic", "tensorflow", "mxnet", "mpi"])
def test_of_a_job_under_restricted_nothing_is_refused_but_what_the_operator_adds(
    real_cluster: RealCluster, namespace: Make, name: str
) -> None:
    space, api = namespace(real_cluster), real_cluster.api
    restrict(api, space)
    (job,) = [doc for doc in _golden(name) if "Job" in doc["kind"]]
    job["metadata"]["namespace"] = space
    api.create(job)
    (specs,) = [value for key, value in job["spec"].items() if key.endswith("ReplicaSpecs")]
    wanted = sum(replica.get("replicas", 1) for replica in specs.values())
    refused: set[str] = set()

    def decided() -> bool:
        for event in api.list("v1", "Event", space):
            if "violates PodSecurity" in event["message"]:
                refused.update(re.findall(r'(?:container|containers) "([^"]+)"', event["message"]))
        return bool(refused) or len(api.list("v1", "Pod", space)) == wanted

    until(decided, seconds=60, what=f"{wanted} pods of {name}")
    assert refused == {one for one in (INJECTED.get(name),) if one}, "nothing that was written here is refused"


@pytest.mark.parametrize("escape", ESCAPES)
def test_pods_that_reach_for_more_are_refused(real_cluster: RealCluster, namespace: Make, escape: str) -> None:
    space, api = namespace(real_cluster), real_cluster.api
    restrict(api, space)
    (job,) = [doc for doc in _golden("pytorch") if "Job" in doc["kind"]]
    spec = next(_templates(job))["spec"]
    change = ESCAPES[escape]
    container = spec["containers"][0]
    for target, values in ((spec, change.get("pod", {})), (container, change.get("container", {}))):
        for key, value in values.items():
            joined = [*target.get(key, ()), *value] if isinstance(value, list) else value
            target[key] = {**target.get(key, {}), **value} if isinstance(value, dict) else joined
    path = f"/api/v1/namespaces/{space}/pods?dryRun=All"
    with pytest.raises(ApiStatusError, match="violates PodSecurity"):
        api.request("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
