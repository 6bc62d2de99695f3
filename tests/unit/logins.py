"""What logins need that are real: an authority with certificates, kubeconfigs, and programs that give credentials."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jupyterlab_kf import settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.connection import Connection

V1 = "client.authentication.k8s.io/v1"


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        self.pem, _ = self.issue("test", authority=True)

    def issue(self, name: str, *, authority: bool = False) -> tuple[bytes, bytes]:
        key = self.key if authority else ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(tz=dt.UTC)
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName(name),
                *([] if name.startswith("only") else [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            ]
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.public_bytes(serialization.Encoding.PEM), private


def served(authority: Authority, folder: Path, name: str) -> ssl.SSLContext:
    """What a server of that name speaks TLS with."""
    chain, key = authority.issue(name)
    (folder / f"{name}.pem").write_bytes(chain + key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / f"{name}.pem")
    return tls


def opened(
    tmp_path: Path, user: dict[str, Any], environment: dict[str, str] | None = None, **cluster: Any
) -> Connection:
    document = {
        "current-context": "work",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "work", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    here = settings.load({"KF_DATA_DIR": str(tmp_path / "data"), "KUBECONFIG": str(path), **(environment or {})})
    return connection.open_connection(connection.choose(here), here)


def program(tmp_path: Path, text: str) -> dict[str, Any]:
    """An exec plugin: a shell script beside the kubeconfig."""
    path = tmp_path / "login"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": V1, "command": "./login", "interactiveMode": "Never"}}


def answer(**status: str) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})
