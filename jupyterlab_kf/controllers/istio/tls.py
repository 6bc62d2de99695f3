"""Certificates: Istio's TLS settings of servers and of destinations as Envoy's contexts, keys by name from files.

Keys come from Secrets of the gateway's namespace (`credentialName`), as in Istio; each becomes a file that Envoy
watches, so a renewed certificate takes effect by itself. Paths into a gateway's own file system, where Istio mounts
what an administrator put there, mean nothing here and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.istio.values import Unspeakable, file_of, source, typed, without_none
from jupyterlab_kf.controllers.istio.world import Mesh
from jupyterlab_kf.model import Obj

_VERSIONS: Final = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}
_PATHS: Final = ("serverCertificate", "privateKey", "caCertificates", "clientCertificate", "caCrl")
_BASE64: Final = r"[A-Za-z0-9+/=\s]*"
_CIPHER: Final = re.compile(r"(ECDHE|AES|DES)[A-Z0-9-]+")
CA_SUFFIX: Final = "-cacert"


def downstream(mesh: Mesh, said: Mapping[str, Any]) -> Obj:
    """The context of a server that ends TLS.

    Raises:
        Unspeakable: it cannot be served as it says.
    """
    mode = str(said.get("mode") or "PASSTHROUGH")
    _no_paths(said)
    listed = list(said.get("credentialNames") or ()) or [said.get("credentialName")]
    if not listed[0]:
        raise Unspeakable("the server names no Secret of istio-system with its certificate (credentialName)")
    common: Obj = {
        "tls_certificate_sds_secret_configs": [_secret(mesh, str(name), "tls.crt") for name in listed],
        "tls_params": _versions(said),
        "alpn_protocols": ["h2", "http/1.1"],
    }
    client = mode in ("MUTUAL", "OPTIONAL_MUTUAL")
    if client:
        authority = str(said.get("caCertCredentialName") or "") or _authority(mesh, str(listed[0]))
        common["combined_validation_context"] = {
            "default_validation_context": _checks(said),
            "validation_context_sds_secret_config": _secret(mesh, authority, "ca.crt"),
        }
    elif mode != "SIMPLE":
        raise Unspeakable(f"the mode {mode} needs Istio's own certificates, which no gateway has here")
    required = {"require_client_certificate": mode == "MUTUAL"} if client else {}
    return typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=common, **required)


def upstream(mesh: Mesh, said: Mapping[str, Any], *, default_name: str) -> Obj:
    """The context of connections to a destination.

    Raises:
        Unspeakable: it cannot be done as it says.
    """
    _no_paths(said)
    name = str(said.get("credentialName") or "")
    common: Obj = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}}
    if said.get("mode") == "MUTUAL":
        if not name:
            raise Unspeakable("the mode MUTUAL names no Secret of istio-system with its certificate (credentialName)")
        common["tls_certificate_sds_secret_configs"] = [_secret(mesh, name, "tls.crt")]
    if name and not said.get("insecureSkipVerify"):
        common["combined_validation_context"] = {
            "default_validation_context": _checks(said),
            "validation_context_sds_secret_config": _secret(mesh, _authority(mesh, name), "ca.crt"),
        }
    elif not said.get("insecureSkipVerify"):
        common["validation_context"] = {**_checks(said), "system_root_certs": {}}
    context = {"common_tls_context": common, "sni": str(said.get("sni") or default_name.removeprefix("*."))}
    return typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", **context)


def secrets(mesh: Mesh, wanted: Mapping[str, tuple[str, str]]) -> dict[str, Obj]:
    """Envoy's Secrets for the files that contexts name."""
    found: dict[str, Obj] = {}
    for name, (secret, entry) in wanted.items():
        data = (mesh.world.secrets.get(secret) or {}).get("data") or {}
        if entry == "ca.crt":
            authority = {"trusted_ca": {"inline_bytes": data.get("ca.crt") or data.get("cacert")}}
            found[name] = {"name": name, "validation_context": authority}
        else:
            chain = {"inline_bytes": data.get("tls.crt") or data.get("cert")}
            key = {"inline_bytes": data.get("tls.key") or data.get("key")}
            found[name] = {"name": name, "tls_certificate": {"certificate_chain": chain, "private_key": key}}
    return found


def wanted(configuration: Any) -> dict[str, tuple[str, str]]:
    """The Secrets that a part of the configuration names: name of the file, and the Secret and entry behind it."""
    found: dict[str, tuple[str, str]] = {}
    if isinstance(configuration, dict):
        name = configuration.get("name")
        if "sds_config" in configuration and isinstance(name, str):
            secret, _, entry = name.rpartition("/")
            found[name] = (secret, entry)
        for value in configuration.values():
            found |= wanted(value)
    elif isinstance(configuration, list):
        for value in configuration:
            found |= wanted(value)
    return found


# ---------------------------------------------------------------------------------------------------------------------


def _secret(mesh: Mesh, name: str, entry: str) -> Obj:
    name = name.removeprefix("kubernetes://").rpartition("/")[2]
    secret = mesh.world.secrets.get(name)
    if secret is None:
        raise Unspeakable(f"there is no Secret {name!r} in istio-system, where the gateway looks for it")
    data = secret.get("data") or {}
    has = {"tls.crt": ("tls.crt", "tls.key"), "ca.crt": ("ca.crt",)}[entry]
    generic = {"tls.crt": ("cert", "key"), "ca.crt": ("cacert",)}[entry]
    if not all(key in data for key in has) and not all(key in data for key in generic):
        raise Unspeakable(f"the Secret {name!r} in istio-system has no {' and '.join(has)}")
    full = f"{name}/{entry}"
    return {"name": full, "sds_config": source(file_of(mesh.folder, "sds", full))}


def _authority(mesh: Mesh, name: str) -> str:
    """The Secret with the certificates that sign: one of its own beside the pair, or the pair's."""
    return name + CA_SUFFIX if name + CA_SUFFIX in mesh.world.secrets else name


def _no_paths(said: Mapping[str, Any]) -> None:
    given = [key for key in _PATHS if said.get(key)]
    if said.get("tlsCertificates"):
        given.append("tlsCertificates")
    if given:
        raise Unspeakable(
            f"{', '.join(given)}: files of a gateway's own are not mounted here; put the certificate into a Secret in "
            "istio-system and name it in credentialName"
        )


def _versions(said: Mapping[str, Any]) -> Obj:
    least = _VERSIONS.get(str(said.get("minProtocolVersion") or ""), "TLSv1_2")
    result: Obj = {"tls_minimum_protocol_version": least}
    if (most := _VERSIONS.get(str(said.get("maxProtocolVersion") or ""))) is not None:
        result["tls_maximum_protocol_version"] = most
    if ciphers := said.get("cipherSuites"):
        bad = [c for c in ciphers if not _CIPHER.fullmatch(str(c))]
        if bad:
            raise Unspeakable(f"{bad[0]!r} is no cipher suite that Envoy knows")
        result["cipher_suites"] = list(ciphers)
    return result


def _checks(said: Mapping[str, Any]) -> Obj:
    names = [
        {"san_type": kind, "matcher": {"exact": str(name)}}
        for name in said.get("subjectAltNames") or ()
        for kind in ("DNS", "URI")
    ]
    return without_none(
        {
            "match_typed_subject_alt_names": names or None,
            "verify_certificate_hash": said.get("verifyCertificateHash"),
            "verify_certificate_spki": said.get("verifyCertificateSpki"),
        }
    )
