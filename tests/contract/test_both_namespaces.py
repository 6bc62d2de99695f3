"""Namespaces on both clusters: what is in a new one by itself, how one goes with all that is in it, which ones stay."""

from __future__ import annotations

import pytest
from bed.api import Api, Obj, until
from objects import MERGE, config, configs, refusal
from sites import Site, make_namespace, there


@pytest.fixture
def api(site: Site) -> Api:
    return site.api


def test_a_new_namespace_is_active_and_named_by_a_label(api: Api, place: str) -> None:
    found = api.get("v1", "Namespace", place, "")
    assert found["status"] == {"phase": "Active"}
    assert found["spec"] == {"finalizers": ["kubernetes"]}
    assert found["metadata"]["labels"] == {"kubernetes.io/metadata.name": place}
    assert refusal(api, "POST", "/api/v1/namespaces", {"metadata": {"name": "A b"}}).code == 422
    assert refusal(api, "POST", "/api/v1/namespaces", {"metadata": {"name": place}}).reason == "AlreadyExists"


def test_every_namespace_has_an_account_and_the_servers_certificate_whatever_happens(api: Api, place: str) -> None:
    def certificate() -> Obj | None:
        return there(api, "v1", "ConfigMap", "kube-root-ca.crt", place)

    made = until(certificate, seconds=60, what="the certificate")
    assert made["data"]["ca.crt"] == api.authority
    assert list(made["metadata"]["annotations"]) == ["kubernetes.io/description"]
    account = api.get("v1", "ServiceAccount", "default", place)
    for path in (f"{configs(place)}/kube-root-ca.crt", f"/api/v1/namespaces/{place}/serviceaccounts/default"):
        api.request("DELETE", path)
    again = until(certificate, seconds=60, what="the certificate again")
    assert (again["data"], again["metadata"]["uid"] == made["metadata"]["uid"]) == (made["data"], False)
    found = until(lambda: there(api, "v1", "ServiceAccount", "default", place), seconds=60, what="the account again")
    assert found["metadata"]["uid"] != account["metadata"]["uid"]
    wrong = {"data": {"ca.crt": "another's", "more": "x"}}
    api.request("PATCH", f"{configs(place)}/kube-root-ca.crt", wrong, content_type=MERGE)
    until(lambda: (certificate() or {}).get("data") == made["data"], seconds=60, what="the certificate as it was")


def test_a_namespace_goes_with_what_is_in_it(api: Api) -> None:
    name = make_namespace(api)
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    api.request("POST", configs(name), held)
    api.request("POST", configs(name), config("free"))
    api.request("DELETE", f"/api/v1/namespaces/{name}")
    until(lambda: there(api, "v1", "ConfigMap", "free", name) is None, seconds=60, what="the end of the content")
    found = api.get("v1", "Namespace", name, "")
    assert found["status"]["phase"] == "Terminating"
    error = refusal(api, "POST", configs(name), config("late"))
    assert (error.code, error.reason) == (403, "Forbidden")
    assert f"unable to create new content in namespace {name} because it is being terminated" in error.message
    api.request("PATCH", f"{configs(name)}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
    until(lambda: there(api, "v1", "Namespace", name, "") is None, seconds=60, what="the end of the namespace")
    missing = refusal(api, "POST", configs(name), config("a"))
    assert (missing.code, missing.message) == (404, f'namespaces "{name}" not found')


def test_the_first_namespaces_stay(api: Api) -> None:
    for name in ("default", "kube-system"):
        error = refusal(api, "DELETE", f"/api/v1/namespaces/{name}?dryRun=All")
        assert (error.code, "this namespace may not be deleted" in error.message) == (403, True)
