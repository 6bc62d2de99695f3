"""Who we are to an API server, kept fresh: tokens and certificates in files, programs that give them, OpenID Connect.

Everything is fetched when it is first needed, again before it ends, and once more when the server refuses it. A fetch
that fails is not tried again for a moment, however many ask, and its reason is an error that says what to do. The
official package is not used here: it logs and drops a program's failure, so that a refusal by the server is all that
is seen, lets the program read the notebook's standard input, and asks an identity provider without checking its
certificate (docs/decisions).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from jupyterlab_kf.cluster import kubeconfig
from jupyterlab_kf.cluster.kubeconfig import FILE, Config, Context
from jupyterlab_kf.errors import ClusterError, CredentialsError
from jupyterlab_kf.settings import inherited

FILE_LIFE: Final = 60.0
"""Seconds for which a token read from a file is used: kubelets rotate them under our feet."""
EARLY: Final = 30.0
"""Seconds before its end at which a credential is fetched anew."""
LONGEST_PAUSE: Final = 5.0
"""Seconds after which a fetch that failed is tried again at the latest, if somebody asks."""
_PROGRAM_SECONDS: Final = 60.0
_PROVIDER_SECONDS: Final = 15.0
_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXTENSION: Final = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True)
class Material:
    """What proves who we are.

    Attributes:
        header: the value of the Authorization header, or empty.
        certificate, key: PEM, or empty.
        until: epoch seconds after which it is fetched anew; None for ever.
    """

    header: str = ""
    certificate: bytes = b""
    key: bytes = b""
    until: float | None = None


Fetch: TypeAlias = Callable[[bool], Material]


class Credentials:
    """Material that is fetched when it is needed. May be used from several threads.

    Args:
        fetch: gets it; may take its time. It is told whether the server has refused what it gave last.
        tls: where client certificates go; new connections use them from then on.
        clock: epoch seconds.
    """

    def __init__(self, fetch: Fetch, tls: ssl.SSLContext | None = None, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._tls = tls
        self._clock = clock
        self._lock = threading.Lock()
        self._material: Material | None = None
        self._failed: tuple[float, int, CredentialsError] | None = None

    def header(self) -> str:
        """The value of the Authorization header; empty when there is none.

        Raises:
            CredentialsError: there is nothing valid, and nothing could be had.
        """
        with self._lock:
            have = self._material
            if have is not None and (have.until is None or self._clock() < have.until):
                return have.header
            return self._renew(refused=False).header

    def renew(self) -> bool:
        """The server has refused what it was given: fetch it anew. True if there is something else to offer now.

        Raises:
            CredentialsError: nothing could be had.
        """
        with self._lock:
            before = self._material
            return self._renew(refused=True) != before

    def _renew(self, *, refused: bool) -> Material:
        now = self._clock()
        if self._failed is not None and now < self._failed[0]:
            raise self._failed[2]
        try:
            fresh = self._fetch(refused)
            if fresh.certificate and self._tls is not None:
                load_chain(self._tls, fresh.certificate, fresh.key)
        except CredentialsError as error:
            failures = self._failed[1] + 1 if self._failed else 1
            self._failed = (now + min(0.5 * 2 ** min(failures, 8), LONGEST_PAUSE), failures, error)
            raise
        self._failed = None
        self._material = fresh
        return fresh


def load_chain(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give a client certificate to a TLS context, which takes files only.

    Raises:
        CredentialsError: they are not PEM, or do not belong together.
    """
    with tempfile.TemporaryDirectory(prefix="kf-") as folder:  # mode 0700
        chain = Path(folder) / "chain.pem"
        chain.write_bytes(certificate + b"\n" + key)
        try:
            tls.load_cert_chain(chain)
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(f"the client certificate cannot be used: {error}") from error


def from_token_file(path: Path) -> Fetch:
    """A token in a file that is read anew every minute."""
    return lambda _: Material(f"Bearer {_read(path).decode().strip()}", until=time.time() + FILE_LIFE)


def of_user(read: Callable[[], Context]) -> tuple[Fetch, bool]:
    """What gets the credentials of a kubeconfig's user, and whether it may take its time.

    Args:
        read: the context, read from its files anew: another program may have put a new token there.

    Raises:
        CredentialsError: it is of a kind that is not known.
    """
    user = read().user
    if isinstance(user.get("exec"), dict):
        return (lambda _: _from_program(read())), True
    if provider := user.get("auth-provider"):
        name = str(provider.get("name") or "")
        if name != "oidc":
            raise CredentialsError(
                f"the auth provider {name!r} was removed from Kubernetes", hint="use its exec plugin instead"
            )
        return (lambda refused: _from_provider(read(), refused=refused)), True
    return (lambda _: _stored(read())), False


def _stored(context: Context) -> Material:
    user = context.user
    certificate, key = _pem(context, "client-certificate"), _pem(context, "client-key")
    if bool(certificate) != bool(key):
        raise CredentialsError(f"user {context.user_name!r} has a client certificate or a key, but not both")
    until = None
    header = f"Bearer {user['token']}" if user.get("token") else ""
    if path := context.path(user, "tokenFile"):  # as kubectl: the file comes before the value
        header, until = f"Bearer {_read(path).decode().strip()}", time.time() + FILE_LIFE
    elif not header and user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        header = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Material(header, certificate, key, until)


def _pem(context: Context, key: str) -> bytes:
    data = context.user.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise CredentialsError(f"{key}-data of user {context.user_name!r} is not base64") from error
    path = context.path(context.user, key)
    return _read(path) if path else b""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"credentials cannot be read from {path}: {error.strerror or error}") from error


# ---------------------------------------------------------------------------------------------------------- programs


def _from_program(context: Context) -> Material:
    """Run an exec plugin (client.authentication.k8s.io) and take what it prints."""
    asked: Config = context.user["exec"]
    command = str(asked.get("command") or "")
    version = str(asked.get("apiVersion") or "")
    if version not in _VERSIONS:
        raise CredentialsError(
            f"the credential program {command!r} speaks {version or 'no apiVersion'}, which Kubernetes has removed",
            hint=f"update it and its kubeconfig entry to {_VERSIONS[0]}",
        )
    if asked.get("interactiveMode") == "Always":
        raise CredentialsError(
            f"the credential program {command!r} wants to talk to you, which it cannot from here",
            hint="log in with it in a terminal, or set interactiveMode to IfAvailable",
        )
    if "/" in command and not command.startswith("/"):
        command = str(Path(str(context.user[FILE])).parent / command)
    added = {str(pair["name"]): str(pair["value"]) for pair in asked.get("env") or ()}
    info: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if asked.get("provideClusterInfo"):
        info["spec"]["cluster"] = _cluster_info(context.cluster)
    try:
        done = subprocess.run(  # noqa: S603  the user's own kubeconfig names it, as for kubectl
            [command, *map(str, asked.get("args") or ())],
            env=inherited(added | {"KUBERNETES_EXEC_INFO": json.dumps(info)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        hint = str(asked.get("installHint") or "install it, or put its folder on PATH").strip()
        raise CredentialsError(
            f"the credential program {command!r} cannot be run: {error.strerror}", hint=hint
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CredentialsError(
            f"the credential program {command!r} did not end within {_PROGRAM_SECONDS:.0f} s",
            hint="run it in a terminal: it may be waiting for you to log in",
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-400:]
        raise CredentialsError(
            f"the credential program {command!r} failed with exit code {done.returncode}: {said or 'it said nothing'}",
            hint="run it in a terminal; a login may have ended. It is tried again by itself",
        )
    return _answer(command, version, done.stdout)


def _answer(command: str, version: str, output: bytes) -> Material:
    wrong = f"the credential program {command!r} printed something that is not an ExecCredential of {version}"
    try:
        answer = json.loads(output)
        status = answer["status"]
        if answer["kind"] != "ExecCredential" or answer["apiVersion"] != version:
            raise CredentialsError(wrong)
        expires = status.get("expirationTimestamp")
        until = dt.datetime.fromisoformat(expires).timestamp() - EARLY if expires else None
        token = str(status.get("token") or "")
        certificate = str(status.get("clientCertificateData") or "").encode()
        key = str(status.get("clientKeyData") or "").encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CredentialsError(wrong) from error
    if not token and not (certificate and key):
        raise CredentialsError(
            f"the credential program {command!r} gave neither a token nor a certificate with its key"
        )
    return Material(f"Bearer {token}" if token else "", certificate, key, until)


def _cluster_info(cluster: Config) -> dict[str, Any]:
    known = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info = {key: cluster[key] for key in known if cluster.get(key)}
    if cluster.get("certificate-authority") and "certificate-authority-data" not in info:
        path = Path(str(cluster[FILE])).parent / str(cluster["certificate-authority"])
        info["certificate-authority-data"] = base64.b64encode(_read(path)).decode()
    for entry in cluster.get("extensions") or ():
        if entry.get("name") == _EXTENSION:
            info["config"] = entry.get("extension")
    return info


# ---------------------------------------------------------------------------------------------------- OpenID Connect


def _from_provider(context: Context, *, refused: bool) -> Material:
    """The id token of an OpenID Connect login; refreshed, and stored where it was, when it has ended."""
    config: Config = context.user["auth-provider"].get("config") or {}
    token = str(config.get("id-token") or "")
    expires = _expiry(token)
    if refused or not token or expires is None or time.time() >= expires - EARLY:
        token = _refreshed(context, config)
        expires = _expiry(token)
    return Material(f"Bearer {token}", until=None if expires is None else expires - EARLY)


def _refreshed(context: Context, config: Config) -> str:
    import urllib.error

    issuer = str(config.get("idp-issuer-url") or "").rstrip("/")
    refresh = str(config.get("refresh-token") or "")
    again = "log in to it again (with kubelogin, for example)"
    if not issuer or not refresh:
        raise CredentialsError(f"the login of {context.user_name!r} has ended, and it has no refresh token", hint=again)
    try:
        tls = _provider_tls(context, config)
        found = _ask(f"{issuer}/.well-known/openid-configuration", tls)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": str(config.get("client-id") or ""),
            "client_secret": str(config.get("client-secret") or ""),
        }
        answer = _ask(str(found["token_endpoint"]), tls, {key: value for key, value in form.items() if value})
        token = str(answer["id_token"])
    except urllib.error.HTTPError as error:
        said = error.read(400).decode(errors="replace")
        raise CredentialsError(f"the identity provider {issuer} answered {error.code}: {said}", hint=again) from error
    except (OSError, ValueError, KeyError, ssl.SSLError) as error:
        raise CredentialsError(f"the identity provider {issuer} cannot be used: {error}", hint=again) from error
    fresh = {"id-token": token, "refresh-token": str(answer.get("refresh_token") or refresh)}
    # A refresh token may serve once only: kubectl must find the new one.
    try:
        kubeconfig.store(Path(str(context.user[FILE])), context.user_name, fresh)
    except ClusterError as error:
        raise CredentialsError(error.message, hint="its login was refreshed, and the new one must be kept") from error
    return token


def _provider_tls(context: Context, config: Config) -> ssl.SSLContext:
    data = config.get("idp-certificate-authority-data")
    path = config.get("idp-certificate-authority")
    if data:
        return ssl.create_default_context(cadata=base64.b64decode(str(data)).decode())
    if path:
        return ssl.create_default_context(cafile=str(Path(str(context.user[FILE])).parent / str(path)))
    return ssl.create_default_context()


def _ask(url: str, tls: ssl.SSLContext, form: Mapping[str, str] | None = None) -> Any:
    import urllib.parse
    import urllib.request

    if not url.startswith("https://"):
        raise ValueError(f"{url} is not https")
    body = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, body, timeout=_PROVIDER_SECONDS, context=tls) as answer:  # noqa: S310  https only
        return json.load(answer)


def _expiry(token: str) -> float | None:
    """When a JSON web token ends, from its own words; None when it does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def authorities(cluster: Config) -> ssl.SSLContext:
    """The TLS context of a kubeconfig's cluster: whom to trust, and whether to look at all.

    Raises:
        ClusterError: the authorities cannot be read.
    """
    data, path = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
    try:
        if data:
            tls = ssl.create_default_context(cadata=base64.b64decode(str(data), validate=True).decode())
        elif path:
            tls = ssl.create_default_context(cafile=str(Path(str(cluster[FILE])).parent / str(path)))
        else:
            tls = ssl.create_default_context()
    except (OSError, ValueError) as error:
        where = "certificate-authority-data" if data else str(path)
        raise ClusterError(f"the certificate authority in {where} cannot be used: {error}") from error
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls
