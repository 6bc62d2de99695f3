"""Which cluster is chosen, and with whose credentials."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jupyterlab_kf import settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.portal import Portal
from jupyterlab_kf.errors import ClusterError, UsageError


def kubeconfig(path: Path, *contexts: str, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": contexts[0] if contexts else "",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": user or {"token": "t0"}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": f"ns-{name}"}} for name in contexts
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def options(tmp_path: Path, **env: str) -> settings.Settings:
    none = str(tmp_path / "no-kubeconfig")
    return settings.load({"KF_DATA_DIR": str(tmp_path / "data"), "KUBECONFIG": none, **env})


def test_without_anything_the_machines_own_cluster_is_taken(tmp_path: Path) -> None:
    choice = connection.choose(options(tmp_path))
    assert choice.embedded
    assert choice.why == "the cluster on this machine, because no other cluster is configured"


def test_a_kubeconfigs_current_context_comes_before_it(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "work", "play")
    choice = connection.choose(options(tmp_path, KUBECONFIG=str(path)))
    assert (choice.name, choice.namespace, choice.embedded) == ("work", "ns-work", False)
    assert "current context" in choice.why


def test_what_the_user_names_comes_first(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "work", "play")
    assert connection.choose(options(tmp_path, KUBECONFIG=str(path), KF_CONTEXT="play")).name == "play"
    assert connection.choose(options(tmp_path, KUBECONFIG=str(path), KF_CONTEXT="embedded")).embedded
    assert connection.choose(options(tmp_path, KUBECONFIG=str(path), KF_CONTEXT="embedded"), "work").name == "work"
    with pytest.raises(UsageError, match="no context 'home'\nthe contexts are: work, play, embedded"):
        connection.choose(options(tmp_path, KUBECONFIG=str(path), KF_CONTEXT="home"))


def test_inside_a_pod_its_service_account_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "sa"
    account.mkdir()
    (account / "token").write_text("t1\n")
    (account / "namespace").write_text("team-a")
    (account / "ca.crt").write_bytes(authority())
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", account)
    path = kubeconfig(tmp_path / "config", "work")
    here = options(tmp_path, KUBECONFIG=str(path), KUBERNETES_SERVICE_HOST="10.0.0.1", KUBERNETES_SERVICE_PORT="443")
    opened = connection.open_connection(connection.choose(here), here)
    assert (opened.name, opened.server, opened.namespace) == ("in-cluster", "https://10.0.0.1:443", "team-a")
    assert opened.authorization() == "Bearer t1"


def test_files_are_merged_the_first_one_winning(tmp_path: Path) -> None:
    one = kubeconfig(tmp_path / "one", "work")
    two = kubeconfig(tmp_path / "two", "work", "other", user={"token": "t9"})
    here = options(tmp_path, KUBECONFIG=f"{one}{os.pathsep}{two}{os.pathsep}{tmp_path / 'missing'}")
    assert connection.contexts(here) == ["work", "other", "embedded"]
    assert connection.open_connection(connection.choose(here, "other"), here).authorization() == "Bearer t0"


def test_the_embedded_cluster_is_started_only_when_it_is_opened(tmp_path: Path) -> None:
    here = options(tmp_path)
    started: list[settings.Settings] = []

    def start(given: settings.Settings) -> Path:
        started.append(given)
        given.embedded_kubeconfig.parent.mkdir(parents=True)
        return kubeconfig(given.embedded_kubeconfig, "embedded")

    choice = connection.choose(here)
    assert not started
    with pytest.raises(ClusterError, match="not running"):
        connection.open_connection(choice, here)
    opened = connection.open_connection(choice, here, start)
    assert (opened.name, opened.server, opened.authorization()) == ("embedded", "http://127.0.0.1:1", "Bearer t0")
    assert started == [here]


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{")
    with pytest.raises(ClusterError, match="cannot be read"):
        connection.choose(options(tmp_path, KUBECONFIG=str(tmp_path / "config")))
    (tmp_path / "config").write_text("- 1")
    with pytest.raises(ClusterError, match="is not a kubeconfig"):
        connection.choose(options(tmp_path, KUBECONFIG=str(tmp_path / "config")))


def authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), day, day.replace(year=2046)
    )
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_cluster_is_opened_without_heavy_packages(tmp_path: Path) -> None:
    ca = base64.b64encode(authority()).decode()
    path = kubeconfig(
        tmp_path / "config", "work", server="https://127.0.0.1:1", **dict[str, Any]({"certificate-authority-data": ca})
    )
    code = (
        "import sys\nfrom jupyterlab_kf import settings\nfrom jupyterlab_kf.cluster import connection, client, watch\n"
        "here = settings.load()\nmade = connection.open_connection(connection.choose(here), here)\n"
        "assert made.tls is not None\nassert 'kubernetes' not in sys.modules and 'aiohttp' not in sys.modules\n"
    )
    env = {"PATH": os.environ["PATH"], "KUBECONFIG": str(path), "KF_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=30)


def test_the_portal_runs_coroutines_beside_a_thread_and_starts_again() -> None:
    portal = Portal()
    seen: list[str] = []

    async def work() -> str:
        return threading.current_thread().name

    async def count(upto: int) -> AsyncGenerator[int, None]:
        try:
            for number in range(upto):
                yield number
        finally:
            seen.append("closed")

    assert portal.run(work()) == "kf-client"
    assert list(portal.iterate(count(3))) == [0, 1, 2]
    half = portal.iterate(count(3))
    assert next(half) == 0
    half.close()  # type: ignore[attr-defined]  # it is a generator
    assert seen == ["closed", "closed"]
    portal.close()
    assert portal.run(work()) == "kf-client"
    portal.close()


def test_an_interrupt_winds_up_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    portal = Portal()
    seen: list[str] = []

    async def forever() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            seen.append("closed")

    items = portal.iterate(forever())
    assert next(items) == 1
    real = Future.result

    def interrupted(_self: Future[int], _timeout: float | None = None) -> int:
        monkeypatch.setattr(Future, "result", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert seen == ["closed"]
    portal.close()
