from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from envoy_worlds import EXAMPLES, FOLDER, GOLDEN, Obj, documents, example, made, said, validated, world_of

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.istio import Configuration, translate
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.errors import InvalidError

SELDON = documents("base") + documents("seldon")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_becomes_the_recorded_configuration(name: str) -> None:
    configuration = made(example(name))
    told = [f"{f.about} {f.path}: {f.message}" for f in configuration.findings]
    text = json.dumps(said(configuration) | {"told": told}, indent=1) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("KF_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_real_envoy_takes_what_an_example_becomes(name: str, tmp_path: Path) -> None:
    assert validated(made(example(name)), tmp_path) == ""


# --- what a person notices --------------------------------------------------------------------------------------------


def door(*hosts: str, **server: Any) -> Obj:
    servers = [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": list(hosts) or ["*"], **server}]
    return obj("Gateway", "door", {"selector": {"istio": "ingressgateway"}, "servers": servers}, "istio-system")


def obj(kind: str, name: str, spec: Obj, namespace: str = "shop", **metadata: Any) -> Obj:
    group = "security" if kind in ("RequestAuthentication", "AuthorizationPolicy") else "networking"
    head = {"apiVersion": f"{group}.istio.io/v1", "kind": kind}
    return {**head, "metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def routed(*http: Obj, hosts: tuple[str, ...] = ("*",), name: str = "r", **metadata: Any) -> Obj:
    spec = {"hosts": list(hosts), "gateways": ["istio-system/door"], "http": list(http)}
    return obj("VirtualService", name, spec, **metadata)


def to(host: str = "digits", **more: Any) -> list[Obj]:
    return [{"destination": {"host": host, **more}}]


def table(*objects: Obj) -> list[Obj]:
    return routes_of(made([*documents("base"), door(), *objects]))


def routes_of(configuration: Configuration, host: str = "*") -> list[Obj]:
    hosts = configuration.tables["http.80"]["virtual_hosts"]
    return list(next(h for h in hosts if h["name"] == host)["routes"])


def told(*objects: Obj) -> list[str]:
    return [f"{f.path}: {f.message}" for f in made([*documents("base"), door(), *objects]).findings]


def endpoints(objects: list[Obj], cluster: str) -> list[tuple[str, int]]:
    found = made(objects).endpoints[cluster]["endpoints"]
    addresses = [e["endpoint"]["address"]["socket_address"] for part in found for e in part["lb_endpoints"]]
    return [(a["address"], a["port_value"]) for a in addresses]


def test_only_ready_pods_get_requests_at_the_ports_that_they_really_have() -> None:
    objects = [*SELDON, door(), routed({"route": to()})]
    assert endpoints(objects, "outbound|9000||digits.shop.svc.cluster.local") == [("127.1.0.3", 9000)]
    assert endpoints(objects, "outbound|8000|two|iris.shop.svc.cluster.local") == [("127.1.0.2", 20077)]


def test_a_pod_that_is_to_end_gets_no_more_requests() -> None:
    objects = copy.deepcopy(SELDON)
    first = next(o for o in objects if o["metadata"]["name"] == "iris-1")
    first["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert endpoints(objects, "outbound|8000|one|iris.shop.svc.cluster.local") == []


def test_addresses_that_somebody_wrote_into_a_slice_are_used() -> None:
    service = {"kind": "Service", "metadata": {"name": "out", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]}}
    part = {
        "kind": "EndpointSlice",
        "metadata": {"name": "out-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "out"}},
        "ports": [{"name": "", "port": 8123}],
        "endpoints": [{"addresses": ["127.7.7.7"]}, {"addresses": ["127.7.7.8"], "conditions": {"ready": False}}],
    }
    objects = [*documents("base"), service, part, door(), routed({"route": to("out")})]
    assert endpoints(objects, "outbound|80||out.shop.svc.cluster.local") == [("127.7.7.7", 8123)]


def test_a_route_without_retries_gets_istios_two_at_other_hosts() -> None:
    policy = table(routed({"route": to()}))[0]["route"]["retry_policy"]
    assert policy["num_retries"] == 2
    assert policy["retry_on"] == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert policy["retriable_status_codes"] == [503]
    assert policy["retry_host_predicate"][0]["name"] == "envoy.retry_host_predicates.previous_hosts"


def test_feedback_is_never_sent_twice_when_a_connection_breaks() -> None:
    retries = {"attempts": 3, "retryOn": "reset,5xx,gateway-error,connect-failure"}
    careful, usual = table(routed({"match": [{"uri": {"prefix": "/seldon/"}}], "retries": retries, "route": to()}))
    assert careful["match"]["headers"][-1]["name"] == ":path"
    assert careful["route"]["retry_policy"]["retry_on"] == "connect-failure"
    assert usual["route"]["retry_policy"]["retry_on"] == "reset,5xx,gateway-error,connect-failure"
    reset_only = table(routed({"retries": {"attempts": 1, "retryOn": "reset"}, "route": to()}))[0]
    assert "retry_policy" not in reset_only["route"]


def test_limits_that_no_rule_sets_are_no_limits() -> None:
    made_of = made([*documents("base"), door(), routed({"route": to()})])
    cluster = made_of.clusters["outbound|9000||digits.shop.svc.cluster.local"]
    limits = cluster["circuit_breakers"]["thresholds"][0]
    assert {limits[k] for k in ("max_connections", "max_pending_requests", "max_requests", "max_retries")} == {
        2**32 - 1
    }
    assert cluster["lb_policy"] == "LEAST_REQUEST"
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0.0}


def test_routes_of_several_objects_for_one_host_follow_each_other_and_what_takes_everything_comes_last() -> None:
    older = routed({"route": to()}, name="z", creationTimestamp="2026-01-01T00:00:00Z")
    newer = routed({"match": [{"uri": {"prefix": "/n"}}], "route": to()}, creationTimestamp="2026-01-02T00:00:00Z")
    assert [r["match"]["prefix"] for r in table(newer, older)] == ["/n", "/"]


def test_a_host_that_a_gateway_is_not_open_for_is_not_served() -> None:
    objects = [
        *documents("base"),
        door("shop/*.example.com"),
        routed({"route": to()}, hosts=("a.example.com", "b.org")),
    ]
    hosts = made(objects).tables["http.80"]["virtual_hosts"]
    assert [h["domains"] for h in hosts] == [["a.example.com"]]


@pytest.mark.parametrize(
    ("route", "path", "words"),
    [
        ({"route": to("nobody")}, "spec.http[0].route[0].destination.host", "no Service 'nobody'"),
        ({"route": to("iris")}, "spec.http[0].route[0].destination.port", "ports 8000, 5001"),
        ({"route": to(subset="x")}, "spec.http[0].route[0].destination.subset", "has the subset 'x'"),
        ({"route": to("iris.shop")}, "spec.http[0].route[0].destination.host", "NAME.NAMESPACE.svc.cluster.local"),
        ({"match": [{"uri": {"regex": "(?=a)b"}}], "route": to()}, "spec.http[0].match[0].uri.regex", "RE2"),
        ({"timeout": "soon", "route": to()}, "spec.http[0].timeout", "'soon' is no duration"),
        ({"directResponse": {"status": 5}}, "spec.http[0].directResponse.status", "5 is no whole number"),
        ({"match": [{"sourceLabels": {"a": "b"}}], "route": to()}, "spec.http[0].match[0].sourceLabels.a", "sidecar"),
        ({"newFeature": {"on": True}, "route": to()}, "spec.http[0].newFeature", "does not know it"),
        ({"route": "digits"}, "spec.http[0].route", "the whole of it is left out"),
        ({"route": [{**to()[0], "weight": True}]}, "spec.http[0].route[0].weight", "True is no whole number"),
        ({"rewrite": {"uri": "/a\nb"}, "route": to()}, "spec.http[0].rewrite.uri", "cannot be sent"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_where_it_stands(route: Obj, path: str, words: str) -> None:
    found = [line for line in told(routed(route)) if line.startswith(f"{path}: ")]
    assert len(found) == 1
    assert words in found[0]


def test_a_value_that_envoy_would_refuse_costs_its_own_object_or_route_only(tmp_path: Path) -> None:
    bad = routed({"timeout": "soon", "route": to()}, name="bad")
    odd = [
        {"match": [{"uri": {"prefix": "/p"}}], "headers": {"response": {"set": {"x": "100% %NOPE%"}}}, "route": to()},
        {"match": [{"uri": {"prefix": "/w"}}], "route": [{**to()[0], "weight": 0}, {**to()[0], "weight": 0}]},
        {"route": to()},
    ]
    configuration = made([*documents("base"), door(), bad, routed(*odd)])
    answers = [r.get("direct_response", {}).get("status") for r in routes_of(configuration)]
    assert answers == [None, 500, None]
    assert validated(configuration, tmp_path) == ""


def test_patterns_that_istio_takes_are_matched_as_it_matches_them(tmp_path: Path) -> None:
    wanted = {"uri": {"regex": "/a|(?i)/b"}, "withoutHeaders": {"x": {"regex": "*"}}}
    configuration = made([*documents("base"), door(), routed({"match": [wanted], "route": to()})])
    (route,) = routes_of(configuration)
    assert route["match"]["headers"] == [{"name": "x", "present_match": True, "invert_match": True}]
    assert validated(configuration, tmp_path) == ""


def test_what_istio_refuses_is_refused_when_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    registry = Registry(store)
    for route, words in (
        ({"timeout": "soon", "route": to()}, r"spec.http\[0\].timeout: .*type conversion error"),
        (
            {"redirect": {"uri": "/", "redirectCode": 399}},
            r'webhook "rev.validation.istio.io" denied .* no whole number',
        ),
    ):
        with pytest.raises(InvalidError, match=words):
            registry.create(kinds.VIRTUAL_SERVICE, routed(route, namespace="default"))
    good = registry.create(kinds.VIRTUAL_SERVICE, routed({"route": to()}, namespace="default"))
    with pytest.raises(InvalidError, match="attempts in body must be of type integer"):
        registry.update(
            kinds.VIRTUAL_SERVICE, {**good, "spec": {"hosts": ["*"], "http": [{"retries": {"attempts": "9x"}}]}}
        )
    store.close()


def test_the_rule_of_the_gateways_namespace_counts_before_that_of_the_service() -> None:
    def rule(namespace: str, host: str, most: int) -> Obj:
        policy = {"connectionPool": {"tcp": {"maxConnections": most}}}
        return obj("DestinationRule", "d", {"host": host, "trafficPolicy": policy}, namespace)

    own, exact = rule("shop", "digits", 1), rule("istio-system", "digits.shop.svc.cluster.local", 2)
    wild = rule("istio-system", "*.shop.svc.cluster.local", 3)

    def most(*rules: Obj) -> int:
        clusters = made([*documents("base"), door(), routed({"route": to()}), *rules]).clusters
        limits = clusters["outbound|9000||digits.shop.svc.cluster.local"]["circuit_breakers"]["thresholds"]
        return int(limits[0]["max_connections"])

    assert (most(own), most(own, wild), most(own, wild, exact)) == (1, 3, 2)


def test_a_subset_says_part_by_part_what_differs_from_the_rule() -> None:
    policy = {"connectionPool": {"tcp": {"maxConnections": 1}}, "outlierDetection": {"consecutive5xxErrors": 2}}
    subset = {
        "name": "s",
        "labels": {"app": "digits"},
        "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 9}},
    }
    rule = obj("DestinationRule", "d", {"host": "digits", "trafficPolicy": policy, "subsets": [subset]})
    found = made([*documents("base"), door(), routed({"route": to(subset="s")}), rule]).clusters
    cluster = found["outbound|9000|s|digits.shop.svc.cluster.local"]
    assert cluster["circuit_breakers"]["thresholds"][0]["max_connections"] == 1
    assert cluster["outlier_detection"]["consecutive_5xx"] == 9


def test_a_policy_for_pods_sees_the_paths_that_they_see() -> None:
    policy = obj(
        "AuthorizationPolicy",
        "p",
        {"selector": {"matchLabels": {"app": "digits"}}, "rules": [{"to": [{"operation": {"paths": ["/api/x"]}}]}]},
    )
    http = {"match": [{"uri": {"prefix": "/seldon/shop/d/"}}], "rewrite": {"uri": "/"}, "route": to()}
    rules = table(routed(http), policy)[0]["typed_per_filter_config"]["kf.pods.allow"]["rbac"]["rules"]
    permissions = rules["policies"]["ns[shop]-policy[p]-rule[0]"]["permissions"]
    assert permissions == [{"url_path": {"path": {"exact": "/seldon/shop/d/api/x"}}}]


def test_an_allow_policy_with_a_condition_that_is_not_known_allows_nothing_and_a_deny_policy_denies_more() -> None:
    rule = {"when": [{"key": "experimental.x", "values": ["1"]}]}
    for action, principals in (("ALLOW", [{"not_id": {"any": True}}]), ("DENY", [{"any": True}])):
        policy = obj("AuthorizationPolicy", "p", {"action": action, "rules": [rule]})
        config = table(routed({"route": to()}), policy)[0]["typed_per_filter_config"][f"kf.pods.{action.lower()}"]
        assert config["rbac"]["rules"]["policies"]["ns[shop]-policy[p]-rule[0]"]["principals"] == principals


def test_keys_from_elsewhere_are_asked_for_and_until_they_come_no_token_is_good() -> None:
    spec = {"jwtRules": [{"issuer": "https://a.example.com", "jwksUri": "https://a.example.com/keys"}]}
    objects = [*documents("base"), door(), routed({"route": to()}), obj("RequestAuthentication", "a", spec)]
    before = made(objects)
    assert before.keys == {"https://a.example.com/keys"}
    assert any("every token is refused" in f.message for f in before.findings)
    keys = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'
    after = translate(world_of(objects, **{"https://a.example.com/keys": keys}), FOLDER)
    assert json.dumps(keys) in json.dumps(said(after))
    assert not any("every token is refused" in f.message for f in after.findings)


def test_a_certificate_that_is_not_there_costs_its_server_only() -> None:
    tls = {"mode": "SIMPLE", "credentialName": "nothing"}
    spec = door()["spec"]
    servers = [*spec["servers"], {"port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}]
    gateway = obj("Gateway", "door", {**spec, "servers": servers}, "istio-system")
    configuration = made([*documents("base"), gateway, routed({"route": to()})])
    assert [port["address"]["socket_address"]["port_value"] for port in configuration.listeners("127.0.0.9", {})] == [
        8080
    ]
    assert any("no Secret 'nothing' in istio-system" in f.message for f in configuration.findings)


def test_a_kind_that_means_nothing_here_says_so() -> None:
    said_of = told(obj("PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}}))
    assert said_of == ["spec: pods have no sidecar here and are reached in plain text; it is not applied"]


def test_an_envoy_filter_that_is_no_local_rate_limit_has_no_effect_and_says_so() -> None:
    patch = {
        "applyTo": "HTTP_FILTER",
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "envoy.filters.http.lua"}},
    }
    lua = obj("EnvoyFilter", "lua", {"configPatches": [patch]})
    assert "only local rate limits" in told(lua)[0]
    assert said(made([*documents("base"), door(), lua])) == said(made([*documents("base"), door()]))
