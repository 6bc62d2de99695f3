"""A cluster's certificate authority, what it signs, and the kubeconfigs made of it.

Everybody who talks to the API server does so by a client certificate whose common name is the user and whose
organisations are the groups, as Kubernetes reads them: so the rights of each component, operator and test user are
those that RBAC gives to that name, and nobody is an administrator by accident.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_LIFETIME = dt.timedelta(days=365)
# A little before now: the clocks of a test machine are the same, but their rounding is not.
_EARLIER = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        """``name.crt`` and ``name.key``, the key for the owner's eyes only."""
        write_private(folder / f"{name}.key", self.key)
        (folder / f"{name}.crt").write_bytes(self.certificate)


class Authority:
    """A certificate authority that lives as long as the cluster it signs for."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def new(cls, name: str, *, rsa_keys: bool = False, dns: Iterable[str] = ()) -> Authority:
        """A new authority; RSA where a program insists on it."""
        key = _new_key(rsa_keys=rsa_keys)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_encipherment=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if names := [x509.DNSName(item) for item in dns]:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """The authority that :meth:`Pair.write` left in a folder."""
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise TypeError(f"{folder / name}.key is neither an EC nor an RSA key")
        return cls(x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()), key)

    @property
    def pair(self) -> Pair:
        """The authority's own certificate and key."""
        return Pair(self._certificate.public_bytes(serialization.Encoding.PEM), _pem(self._key))

    def client(self, user: str, groups: Iterable[str] = ()) -> Pair:
        """A client certificate for a user in groups."""
        return self._issue(user, groups, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def server(self, name: str, *, dns: Iterable[str] = (), addresses: Iterable[str] = ()) -> Pair:
        """A serving certificate for names and addresses."""
        names: list[x509.GeneralName] = [x509.DNSName(item) for item in dns]
        names += [x509.IPAddress(ipaddress.ip_address(item)) for item in addresses]
        return self._issue(name, (), ExtendedKeyUsageOID.SERVER_AUTH, names)

    def _issue(
        self, name: str, groups: Iterable[str], purpose: x509.ObjectIdentifier, names: Iterable[x509.GeneralName]
    ) -> Pair:
        key = _new_key(rsa_keys=isinstance(self._key, rsa.RSAPrivateKey))
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        builder = _builder(x509.Name(attributes), self._certificate.subject, key).add_extension(
            x509.ExtendedKeyUsage([purpose]), critical=False
        )
        if alternative := list(names):
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def signing_key() -> tuple[bytes, bytes]:
    """The key pair that signs service account tokens: private and public PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _pem(key), public


def kubeconfig(server: str, authority: bytes, pair: Pair, *, user: str, namespace: str = "default") -> str:
    """A kubeconfig of one context, as JSON (which is YAML)."""
    cluster = {"server": server, "certificate-authority-data": _base64(authority)}
    credentials = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
    context = {"cluster": "real", "user": user, "namespace": namespace}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "real", "context": context}],
            "current-context": "real",
        },
        indent=1,
    )


def write_private(path: Path, content: bytes) -> None:
    """A file that only its owner can read, from its first moment on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = dt.datetime.now(tz=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFETIME)
    )


def _new_key(*, rsa_keys: bool) -> Key:
    return rsa.generate_private_key(65537, 2048) if rsa_keys else ec.generate_private_key(ec.SECP256R1())


def _pem(key: Key) -> bytes:
    # TraditionalOpenSSL is PKCS#1 for RSA, which is the only form that the operator's certificate controller reads.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
