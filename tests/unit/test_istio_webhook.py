"""What istiod's webhook refuses, in its words, and what it takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registries import begun

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.istio import webhook
from jupyterlab_kf.embedded.apiserver import validation
from jupyterlab_kf.embedded.registry import MERGE_PATCH, Registry
from jupyterlab_kf.errors import InvalidError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests" / "serving"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store, clock=lambda: 1_800_000_000.0)
    store.close()


def obj(kind: Kind, name: str = "x", **spec: Any) -> Obj:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


TO = [{"destination": {"host": "a.team.svc.cluster.local"}}]


def vs(route: Obj | None = None, **spec: Any) -> Obj:
    given_ = {"hosts": ["models.example"], "http": [{"route": TO, **(route or {})}], **spec}
    return obj(kinds.VIRTUAL_SERVICE, **given_)


def dr(**spec: Any) -> Obj:
    return obj(kinds.DESTINATION_RULE, **{"host": "a.team.svc.cluster.local", **spec})


def gateway(name: str = "x", **server: Any) -> Obj:
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    return obj(kinds.GATEWAY, name, servers=[{"port": port, "hosts": ["*"], **server}])


def policy(**spec: Any) -> Obj:
    return obj(kinds.AUTHORIZATION_POLICY, **spec)


def tokens(**rule: Any) -> Obj:
    return obj(kinds.REQUEST_AUTHENTICATION, jwtRules=[{"issuer": "me", **rule}])


def weighted(*weights: int) -> list[Obj]:
    return [{**TO[0], "weight": weight} for weight in weights]


BAD = {
    "total destination weight = 0": vs({"route": weighted(0, 0)}),
    "weight -1 < 0": vs({"route": weighted(-1, 2)}),
    "invalid destination host *": vs({"route": [{"destination": {"host": "*"}}]}),
    'domain name "a_b" invalid (label "a_b" invalid)': vs(hosts=["a_b"]),
    "wildcard host * is not allowed for virtual services bound to the mesh gateway": vs(hosts=["*"]),
    "duplicate hosts in virtual service: *.example & a.example": vs(hosts=["*.example", "a.example"]),
    "http, tcp or tls must be provided in virtual service": vs(http=[]),
    "delegate virtual service must have no gateways specified": vs(hosts=[], gateways=["a/b"]),
    'invalid value for gateway name: "M_y"': vs(gateways=["team/M_y"]),
    "HTTP route, redirect or direct_response is required": vs(http=[{"match": [{"uri": {"prefix": "/"}}]}]),
    "HTTP route cannot contain both route and redirect": vs({"redirect": {"uri": "/"}}),
    "HTTP route rule cannot contain both rewrite and direct_response": vs(
        http=[{"rewrite": {"uri": "/"}, "directResponse": {"status": 200}}]
    ),
    "HTTP route cannot contain both mirror and mirrors": vs(
        {"mirror": TO[0]["destination"], "mirrors": [{"destination": TO[0]["destination"]}]}
    ),
    "header name a b is not a valid header name": vs({"match": [{"headers": {"a b": {"exact": "c"}}}]}),
    '"headers": prefix string match should not be empty': vs({"match": [{"headers": {"a": {"prefix": ""}}}]}),
    '"uri": error parsing regexp': vs({"match": [{"uri": {"regex": "("}}]}),
    "invalid or unsupported Perl syntax: `(?=`": vs({"match": [{"uri": {"regex": "a(?=b)"}}]}),
    '"uri": regex is too large, max length allowed is 1024': vs({"match": [{"uri": {"regex": "a" * 1025}}]}),
    "JWT claim based routing (key: @request.auth.claims.group) is only supported for gateway": vs(
        {"match": [{"headers": {"@request.auth.claims.group": {"exact": "a"}}}]}
    ),
    "port number 70000 must be in the range 1..65535": vs(
        {"route": [{"destination": {"host": "a", "port": {"number": 70000}}}]}
    ),
    "subset name is invalid: A_B": vs({"route": [{"destination": {"host": "a", "subset": "A_B"}}]}),
    "percentage 101 is neither 0.0, nor in range [0.0001, 100.0]": vs(
        {"fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 101}}}}
    ),
    "HTTP fault injection must have an abort and/or a delay": vs({"fault": {}}),
    "HTTP status 199 is not in range 200-599": vs({"fault": {"abort": {"httpStatus": 199}}}),
    "exponentialDelay not supported yet": vs({"fault": {"delay": {"exponentialDelay": "1s"}}}),
    'gRPC status "NOPE" is not supported': vs({"fault": {"abort": {"grpcStatus": "NOPE"}}}),
    "mirror_percentage must have a max value of 100": vs(
        {"mirror": TO[0]["destination"], "mirrorPercentage": {"value": 150}}
    ),
    "http retry policy configured when attempts are set to 0 (disabled)": vs({"retries": {"retryOn": "5xx"}}),
    '"sometimes" is not a valid retryOn policy': vs({"retries": {"attempts": 1, "retryOn": "5xx,sometimes"}}),
    "only durations to ms precision are supported": vs({"timeout": "1.5ms"}),
    'invalid header ":path": header cannot have ":" prefix': vs({"headers": {"request": {"set": {":path": "/"}}}}),
    "rewrite must specify at least one of URI": vs({"rewrite": {}}),
    "redirect must specify URI, authority, scheme, or port": vs(http=[{"redirect": {"redirectCode": 301}}]),
    "TLS match must have at least one SNI host": vs(tls=[{"match": [{"port": 443, "sniHosts": []}], "route": TO}]),
    "TCP route is required": vs(tcp=[{"match": [{"port": 80}]}]),
    '"FETCH" is not a supported HTTP method': vs({"corsPolicy": {"allowMethods": ["FETCH"]}}),
    "duplicate subset names: v1": dr(subsets=[{"name": "v1"}, {"name": "v1"}]),
    "traffic policy must have at least one field": dr(trafficPolicy={}),
    "connection pool must have at least one field": dr(trafficPolicy={"connectionPool": {}}),
    "max retries must be non-negative": dr(trafficPolicy={"connectionPool": {"http": {"maxRetries": -1}}}),
    "percentage 101 is not in range 0..100": dr(trafficPolicy={"outlierDetection": {"maxEjectionPercent": 101}}),
    "consecutive local origin failures is specified": dr(
        trafficPolicy={"outlierDetection": {"consecutiveLocalOriginFailures": 1}}
    ),
    "tableSize must be a prime number for maglev": dr(
        trafficPolicy={"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 100}}}}
    ),
    "client certificate required for mutual tls": dr(trafficPolicy={"tls": {"mode": "MUTUAL"}}),
    'invalid gateway name: "a.b"': gateway("a.b"),
    "short names (non FQDN) are not allowed": gateway(hosts=["models"]),
    'invalid protocol "SMTP"': gateway(port={"number": 25, "name": "mail", "protocol": "SMTP"}),
    "server must have TLS settings for HTTPS/TLS protocols": gateway(
        port={"number": 443, "name": "https", "protocol": "HTTPS"}
    ),
    "server cannot have TLS settings for plain text HTTP ports": gateway(tls={"mode": "SIMPLE", "credentialName": "c"}),
    "SIMPLE TLS requires a server certificate": gateway(
        port={"number": 443, "name": "https", "protocol": "HTTPS"}, tls={"mode": "SIMPLE"}
    ),
    "gateway must have at least one server": obj(kinds.GATEWAY, servers=[]),
    "invalid policy x.default: DENY action without `rules` is meaningless": policy(action="DENY"),
    "`provider.name` must not be empty": policy(action="CUSTOM", rules=[{}]),
    "`from.source` must not be empty, found at rule 0": policy(rules=[{"from": [{"source": {}}]}]),
    "`to.operation` must not be empty, found at rule 0": policy(rules=[{"to": [{"operation": {}}]}]),
    "bad CIDR range (10.0.0.0/99)": policy(rules=[{"from": [{"source": {"ipBlocks": ["10.0.0.0/99"]}}]}]),
    "bad port (http)": policy(rules=[{"to": [{"operation": {"ports": ["http"]}}]}]),
    "empty value not allowed, found in Paths": policy(rules=[{"to": [{"operation": {"paths": [""]}}]}]),
    "unknown attribute: request.body": policy(rules=[{"when": [{"key": "request.body", "values": ["a"]}]}]),
    "bad key (request.headers): should have format a[b]": policy(
        rules=[{"when": [{"key": "request.headers", "values": ["a"]}]}]
    ),
    "{**} is not the last operator": policy(rules=[{"to": [{"operation": {"paths": ["/{**}/{*}"]}}]}]),
    "issuer or jwksUri must be non-empty string": obj(
        kinds.REQUEST_AUTHENTICATION, jwtRules=[{"jwks": '{"keys": []}'}]
    ),
    "jwks parse error": tokens(jwks="{"),
}


@pytest.mark.parametrize("words", BAD)
def test_what_istiod_refuses_is_refused_in_its_words(words: str, registry: Registry) -> None:
    sent = BAD[words]
    with pytest.raises(InvalidError) as caught:
        registry.create(kinds.of(sent["apiVersion"], sent["kind"]), sent)
    assert words in caught.value.message
    assert caught.value.message.startswith(
        'admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: '
    )
    assert caught.value.code == 400


GOOD = [
    vs({"route": weighted(90, 20)}),
    vs({"match": [{"uri": {"prefix": ""}}, {"withoutHeaders": {"x": {"regex": "*"}}}]}),
    vs({"retries": {"attempts": 2, "retryOn": "503,gateway-error", "perTryTimeout": "1s"}, "timeout": "1h0m0.25s"}),
    vs(hosts=["*"], gateways=["seldon-gateway", "mesh"]),
    vs(hosts=[], http=[{"route": TO}]),
    vs(http=[{"delegate": {"name": "other"}}]),
    vs(http=[{"directResponse": {"status": 503, "body": {"string": "closed"}}}]),
    vs({"match": [{"uri": {"regex": r".*tensorflow.*|.*seldon\.protos.*|(?i)x"}}]}),
    dr(trafficPolicy={"connectionPool": {"tcp": {"idleTimeout": "0s"}}}),
    gateway(hosts=["*/models.example", "10.0.0.1"]),
    gateway(tls={"httpsRedirect": True}),
    policy(),
    policy(rules=[{"when": [{"key": "request.auth.claims[groups]", "notValues": ["a"]}]}], action="DENY"),
    tokens(),
]


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_what_istiod_takes_is_taken(number: int) -> None:
    sent = GOOD[number]
    kind = kinds.of(sent["apiVersion"], sent["kind"])
    assert validation.unknown_fields(kind, sent) == []
    assert validation.validate(kind, sent) == []
    assert webhook.denial(kind, sent) == ""


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_we_write_is_what_istiod_takes(path: Path) -> None:
    found = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    for document in (one for one in found if "rbac" not in one["apiVersion"]):  # kinds that we write and do not serve
        assert webhook.denial(kinds.of(document["apiVersion"], document["kind"]), document) == ""


def test_several_faults_are_listed_as_istio_lists_them() -> None:
    sent = vs({"route": weighted(0, 0), "timeout": "1.5ms"})
    assert webhook.denial(kinds.VIRTUAL_SERVICE, sent).endswith(
        "configuration is invalid: 2 errors occurred:\n\t* total destination weight = 0\n\t* only durations to ms "
        "precision are supported\n\n"
    )


def test_an_older_version_is_looked_at_alike_and_so_is_an_update(registry: Registry) -> None:
    old = kinds.of("networking.istio.io/v1beta1", "VirtualService")
    with pytest.raises(InvalidError, match="weight = 0"):
        registry.create(old, {**BAD["total destination weight = 0"], "apiVersion": old.api_version})
    registry.create(kinds.VIRTUAL_SERVICE, vs())
    with pytest.raises(InvalidError, match="tcp or tls must be provided"):
        registry.patch(kinds.VIRTUAL_SERVICE, "default", "x", {"spec": {"http": []}}, MERGE_PATCH)


FIELDS = (
    "hosts",
    "http",
    "route",
    "match",
    "destination",
    "host",
    "subset",
    "port",
    "number",
    "weight",
    "fault",
    "delay",
    "abort",
    "percentage",
    "value",
    "uri",
    "regex",
    "headers",
    "request",
    "set",
    "servers",
    "tls",
    "mode",
    "rules",
    "from",
    "source",
    "to",
    "operation",
    "paths",
    "when",
    "key",
    "values",
    "jwtRules",
    "jwks",
    "trafficPolicy",
    "subsets",
    "name",
    "loadBalancer",
    "consistentHash",
    "maglev",
    "tableSize",
    "retries",
    "timeout",
    "mirror",
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 70000) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=st.dictionaries(st.sampled_from(["hosts", "http", "servers", "subsets", "rules", "jwtRules"]), values))
def test_no_object_of_whatever_shape_makes_the_rules_fail(spec: Obj) -> None:
    for kind in kinds.TRAFFIC:
        sent = obj(kind, **copy.deepcopy(spec))
        before = copy.deepcopy(sent)
        webhook.denial(kind, sent)
        assert sent == before
