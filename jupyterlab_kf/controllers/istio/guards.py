"""Who may pass: RequestAuthentication, AuthorizationPolicy and local rate limits as settings of Envoy's filters.

On a cluster each pod's sidecar enforces what is asked for the pod, and the gateway what is asked for the gateway. There
are no sidecars here, so the gateway does both: what is asked for pods holds on the routes that lead to them, and there
alone. Requests that go to a pod past the gateway are not looked at, as the finding on such an object says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio import conditions, limits
from jupyterlab_kf.controllers.istio.conditions import Seen
from jupyterlab_kf.controllers.istio.values import typed
from jupyterlab_kf.controllers.istio.world import GATEWAY_LABELS, ROOT, Destination, Mesh, oldest_first
from jupyterlab_kf.model import Obj, labels

TOKENS: Final = ("kf.gateway.tokens", "kf.pods.tokens")
RIGHTS: Final = (("deny", "kf.{}.deny"), ("allow", "kf.{}.allow"), ("log", "kf.{}.audit"))
_NOBODYS: Final = (
    '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"nobody",'
    '"x":"yQcti0I3BG70ej7TRzOaFIPs9Zc0cqaIoGvj1enW0GY",'
    '"y":"uKoqVYOQ5F6rrnugrwU8x3jEq4MD2rLAEp0cumGk5G0"}]}'
)
"""A key whose other half was thrown away: Envoy wants one, and no token is signed by it."""
_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_PAST: Final = (
    "pods have no sidecar here: it holds for requests that come through istio-ingressgateway, not for those that "
    "go to a pod directly"
)
_RBAC: Final = "extensions.filters.http.rbac.v3."
_JWT: Final = "extensions.filters.http.jwt_authn.v3."


class Guards:
    """The rules of a world, ready to be asked for the gateway, for a destination and for a route."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._tokens = oldest_first(mesh.world.request_authentications)
        self._policies = oldest_first(mesh.world.authorization_policies)
        self._limits = limits.read(mesh)
        self._providers: dict[str, Obj] = {}
        self._requirements: dict[str, Obj] = {}
        self._cache: dict[tuple[Destination, Seen], Obj] = {}
        self._own = self._requirement(o for o in self._tokens if self._is_for_gateway(o))
        for obj in (*self._tokens, *self._policies):
            self._say_where(obj)

    def filters(self) -> list[Obj]:
        """The filters of every HTTP listener, in Istio's order: tokens, then who is denied, then who is allowed."""
        result = [self._token_filter(TOKENS[0], self._own), self._token_filter(TOKENS[1], "")]
        gateway = self._rights([o for o in self._policies if self._is_for_gateway(o)], Seen())
        for place in ("gateway", "pods"):
            for action, name in RIGHTS:
                rules = gateway.get(action) if place == "gateway" else None
                config = typed(_RBAC + "RBAC", rules=rules)
                result.append({"name": name.format(place), "typed_config": config})
        return [*result, *self._limits.filters()]

    def on(self, name: str) -> Obj:
        """Settings for a route that is called so."""
        return self._limits.on(name)

    def before(self, to: Destination, match: Mapping[str, Any], action: Mapping[str, Any]) -> Obj:
        """Settings for requests to a destination."""
        seen = Seen(ports=frozenset(self._mesh.target_ports(to.host, to.port)))
        if "prefix_rewrite" in action:
            beginning = str(match.get("prefix", match.get("path", "")))
            seen = Seen(beginning, str(action["prefix_rewrite"]), seen.ports)
        if (to, seen) not in self._cache:
            self._cache[to, seen] = self._before(to, seen)
        return self._cache[to, seen]

    def _before(self, to: Destination, seen: Seen) -> Obj:
        service = self._mesh.service(to.host)
        pods = self._mesh.behind(service) if service else []
        wanted = self._mesh.subset_labels(to) or {}
        pods = [pod for pod in pods if wanted.items() <= labels(pod).items()]
        space = support.namespace(service) if service else ""
        result: Obj = {}
        requirement = self._requirement(o for o in self._tokens if _selects(o, space, pods))
        if requirement:
            config = typed(_JWT + "PerRouteConfig", requirement_name=requirement)
            result[TOKENS[1]] = config
        rights = self._rights([o for o in self._policies if _selects(o, space, pods)], seen)
        for action, name in RIGHTS:
            if action in rights:
                inner = typed(_RBAC + "RBACPerRoute", rbac={"rules": rights[action]})
                result[name.format("pods")] = inner
        return result | self._limits.before(space, pods)

    # --- what is for whom ---------------------------------------------------------------------------------------

    def _is_for_gateway(self, obj: Obj) -> bool:
        selector = _selector(obj)
        if support.namespace(obj) != ROOT or _targets(obj):
            return False
        return selector.items() <= GATEWAY_LABELS.items()

    def _say_where(self, obj: Obj) -> None:
        if _targets(obj):
            self._mesh.say(
                obj,
                "spec.targetRefs",
                "is for Gateways of the Gateway API and waypoints, which are not here; the object has no effect",
            )
        elif support.namespace(obj) != ROOT or not self._is_for_gateway(obj):
            self._mesh.say(obj, "spec.selector", _PAST)

    # --- tokens -------------------------------------------------------------------------------------------------

    def _requirement(self, objects: Iterable[Obj]) -> str:
        """The name of a requirement that all tokens of these objects' issuers are good; empty when there are none."""
        listed = [
            (obj, n, rule) for obj in objects for n, rule in enumerate((obj.get("spec") or {}).get("jwtRules") or ())
        ]
        if not listed:
            return ""
        names = [self._provider(obj, number, rule) for obj, number, rule in listed]
        key = "+".join(names)
        choices = [{"provider_name": name} for name in names]
        both = [{"requires_any": {"requirements": choices}}] if len(choices) > 1 else choices
        self._requirements[key] = {"requires_any": {"requirements": [*both, {"allow_missing": {}}]}}
        return key

    def _provider(self, obj: Obj, number: int, rule: Mapping[str, Any]) -> str:
        name = f"{support.namespace(obj)}/{support.name(obj)}/{number}"
        provider: Obj = {
            "issuer": str(rule.get("issuer") or ""),
            "local_jwks": {"inline_string": self._keys(obj, number, rule)},
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {
                "space_delimited_claims": [*rule.get("spaceDelimitedClaims", ("scope", "permission"))]
            },
            "forward": bool(rule.get("forwardOriginalToken")),
        }
        if rule.get("audiences"):
            provider["audiences"] = list(rule["audiences"])
        if rule.get("fromHeaders"):
            provider["from_headers"] = [
                {"name": str(h.get("name")), "value_prefix": str(h.get("prefix") or "")} for h in rule["fromHeaders"]
            ]
        for field, key in (("fromParams", "from_params"), ("fromCookies", "from_cookies")):
            if rule.get(field):
                provider[key] = list(rule[field])
        if rule.get("outputPayloadToHeader"):
            provider["forward_payload_header"] = str(rule["outputPayloadToHeader"])
        claims = [
            {"header_name": str(c.get("header")), "claim_name": str(c.get("claim"))}
            for c in rule.get("outputClaimToHeaders") or ()
        ]
        provider |= {"claim_to_headers": claims} if claims else {}
        self._providers[name] = provider
        return name

    def _keys(self, obj: Obj, number: int, rule: Mapping[str, Any]) -> str:
        if rule.get("jwks"):
            if _has_key(str(rule["jwks"])):
                return str(rule["jwks"])
            self._mesh.say(
                obj, f"spec.jwtRules[{number}].jwks", "it holds no key of a known kind; every token is refused"
            )
            return _NOBODYS
        address = str(rule.get("jwksUri") or rule.get("jwks_uri") or "")
        address = address or f"{str(rule.get('issuer') or '').rstrip('/')}/.well-known/openid-configuration"
        self._mesh.wanted_keys.add(address)
        found = self._mesh.world.keys.get(address)
        if found is None or not _has_key(found):
            path = f"spec.jwtRules[{number}].jwksUri"
            self._mesh.say(obj, path, f"no keys could be had from {address}; until then every token is refused")
            return _NOBODYS
        return found

    def _token_filter(self, name: str, requirement: str) -> Obj:
        rules = [{"match": {"prefix": "/"}, "requirement_name": requirement}] if requirement else None
        config = typed(
            _JWT + "JwtAuthentication",
            # The same object in both filters, filled while routes are written: a filter may only name what it knows.
            providers=self._providers,
            requirement_map=self._requirements,
            rules=rules,
        )
        return {"name": name, "typed_config": config}

    # --- rights -------------------------------------------------------------------------------------------------

    def _rights(self, policies: Sequence[Obj], seen: Seen) -> dict[str, Obj]:
        """RBAC rules by what they do; an ALLOW that is there and fits nothing denies all."""
        found: dict[str, dict[str, Obj]] = {}
        for obj in policies:
            spec = obj.get("spec") or {}
            action = str(spec.get("action") or "ALLOW")
            if action == "CUSTOM":
                what = "no external authoriser is configured here; what its rules fit is denied, as Istio does then"
                self._mesh.say(obj, "spec.action", what)
            side = {"ALLOW": "allow", "AUDIT": "log"}.get(action, "deny")
            listed = found.setdefault(side, {})
            name = f"ns[{support.namespace(obj)}]-policy[{support.name(obj)}]"
            if not spec.get("rules"):
                listed[f"{name}-none"] = conditions.nothing()
            for number, rule in enumerate(spec.get("rules") or ()):

                def tell(path: str, what: str, obj: Obj = obj, number: int = number) -> None:
                    self._mesh.say(obj, f"spec.rules[{number}].{path}", what)

                listed[f"{name}-rule[{number}]"] = conditions.policy(rule or {}, seen, deny=side == "deny", tell=tell)
        actions = {"allow": "ALLOW", "deny": "DENY", "log": "LOG"}
        return {side: {"action": actions[side], "policies": listed} for side, listed in found.items()}


def _has_key(text: str) -> bool:
    """Whether a key set has a key that Envoy can read: without one it would take no route at all."""
    try:
        keys = json.loads(text)["keys"]
        return any(all(key.get(part) for part in _PARTS.get(key["kty"], ("",))) for key in keys)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _selector(obj: Obj) -> Mapping[str, str]:
    return ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}


def _targets(obj: Obj) -> bool:
    spec = obj.get("spec") or {}
    return bool(spec.get("targetRef") or spec.get("targetRefs"))


def _selects(obj: Obj, space: str, pods: Sequence[Obj]) -> bool:
    """Whether an object is for pods of a namespace; with none there yet, for what its selector would leave open."""
    if _targets(obj) or support.namespace(obj) not in (space, ROOT):
        return False
    selector = _selector(obj)
    return not selector or any(selector.items() <= labels(pod).items() for pod in pods)
