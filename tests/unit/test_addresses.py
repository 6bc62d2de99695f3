from __future__ import annotations

import json

from jupyterlab_kf.embedded.addresses import (
    Directory,
    Endpoint,
    give_ports,
    outside,
    pod_ip,
    rewrite_args,
    rewrite_env,
    rewrite_hostfile,
    rewrite_text,
    rewrite_value,
)

HOSTS = {
    "j-master-0": Endpoint("127.1.2.3", {23456: 20001}),
    "j-worker-0": Endpoint("127.4.5.6"),
    "j-worker-0.ml.svc": Endpoint("127.4.5.6", {2222: 21000}),
    "j-ps-0.ml.svc": Endpoint("127.7.7.7"),
    "web": Endpoint("127.9.9.9", {80: 25000}),
    "digits": Endpoint("127.8.8.8"),
}


def test_a_pods_address_is_stable_and_its_own() -> None:
    first = pod_ip("ml", "a")
    assert first == pod_ip("ml", "a")
    assert first.startswith("127.")
    assert not first.startswith("127.0.0.")
    assert pod_ip("ml", "a", {first}) not in {first, pod_ip("ml", "b")}
    assert len({pod_ip("ml", f"p{i}") for i in range(2000)}) > 1990


def test_a_free_port_stays_and_a_taken_one_moves_to_the_same_place_each_time() -> None:
    assert give_ports([2222], lambda _: True, "u") == {2222: 2222}
    moved = give_ports([2222, 8080], lambda port: port != 2222, "u")
    assert moved[8080] == 8080
    assert moved[2222] != 2222
    assert moved == give_ports([2222, 8080], lambda port: port != 2222, "u")
    assert give_ports([2222], lambda _: True, "u", move=[2222])[2222] != 2222


def test_ports_are_given_where_the_system_takes_none_for_outgoing_connections() -> None:
    assert outside(32768, 60999) == (20000, 29999)
    assert outside(49152, 65535) == (20000, 29999)
    assert outside(25000, 60000) == (20000, 24999)
    assert outside(15000, 61000) == (61001, 65535)
    assert outside(15000, 65535) == (5000, 14999)
    assert outside(1024, 24000) == (24001, 29999)
    assert outside(1024, 65535) == (20000, 29999)  # nothing is outside


def test_a_given_port_is_never_a_declared_one() -> None:
    wanted = range(20000, 20010)
    assert set(give_ports(wanted, lambda _: True, "u", move=wanted).values()).isdisjoint(wanted)


def test_a_host_beside_its_port_is_rewritten_with_it() -> None:
    env = {"MASTER_ADDR": "j-master-0", "MASTER_PORT": "23456", "PET_MASTER_ADDR": "j-master-0", "RANK": "0"}
    env |= {"DMLC_PS_ROOT_URI": "j-master-0", "DMLC_PS_ROOT_PORT": "23456"}
    assert rewrite_env(env, HOSTS.get) == {
        "MASTER_ADDR": "127.1.2.3",
        "MASTER_PORT": "20001",
        "PET_MASTER_ADDR": "127.1.2.3",
        "RANK": "0",
        "DMLC_PS_ROOT_URI": "127.1.2.3",
        "DMLC_PS_ROOT_PORT": "20001",
    }


def test_tf_config_and_mx_config_keep_their_shape() -> None:
    tf = {"cluster": {"worker": ["j-worker-0.ml.svc:2222"], "ps": ["j-ps-0.ml.svc:2222"]}, "task": {"index": 0}}
    mx = {"cluster": {"scheduler": [{"url": "j-master-0", "port": 23456}]}, "task": {"type": "worker", "index": 1}}
    env = rewrite_env({"TF_CONFIG": json.dumps(tf), "MX_CONFIG": json.dumps(mx)}, HOSTS.get)
    assert json.loads(env["TF_CONFIG"])["cluster"] == {"worker": ["127.4.5.6:21000"], "ps": ["127.7.7.7:2222"]}
    assert json.loads(env["MX_CONFIG"])["cluster"] == {"scheduler": [{"url": "127.1.2.3", "port": 20001}]}
    assert json.loads(env["MX_CONFIG"])["task"] == mx["task"]


def test_words_that_only_look_like_a_service_stay() -> None:
    env = {
        "DATASET": "digits",
        "HOSTNAME": "j-master-0",
        "JOB_NAME": "j-master-0",
        "IMAGE": "registry.example/team/digits:1",
        "TEXT": "see digits and web, or my-digits:80 or digits.py:80",
        "CLOCK": "12:30",
        "NOT_JSON": "{digits",
    }
    assert rewrite_env(env, HOSTS.get) == env
    assert rewrite_args(["train", "digits", "--dataset=digits", "--dataset", "web"], HOSTS.get) == [
        "train",
        "digits",
        "--dataset=digits",
        "--dataset",
        "web",
    ]


def test_hosts_in_arguments_and_urls() -> None:
    args = [
        "--ps_hosts=j-ps-0.ml.svc:2222,j-worker-0.ml.svc:2222",
        "--master_addr",
        "j-master-0",
        "--master_port=23456",
    ]
    assert rewrite_args(args, HOSTS.get) == [
        "--ps_hosts=127.7.7.7:2222,127.4.5.6:21000",
        "--master_addr",
        "127.1.2.3",
        "--master_port=20001",
    ]
    assert rewrite_text("curl http://web/x http://web:80/y", HOSTS.get) == (
        "curl http://127.9.9.9:25000/x http://127.9.9.9:25000/y"
    )
    assert rewrite_value("j-worker-0.ml.svc", HOSTS.get) == "127.4.5.6"
    assert rewrite_value("j-worker-0,j-master-0", HOSTS.get, host_expected=True) == "127.4.5.6,127.1.2.3"


def test_a_hostfile_of_our_pods_becomes_this_machine() -> None:
    known = {"w-0", "w-1.j.ml.svc"}.__contains__
    assert rewrite_hostfile("w-0 slots=2\nw-1.j.ml.svc slots=2\n", known) == "localhost slots=4\n"
    assert rewrite_hostfile("w-0:3\nw-1.j.ml.svc:1\n", known) == "localhost:4\n"
    assert rewrite_hostfile("w-0\n", known) == "localhost slots=1\n"
    assert rewrite_hostfile("elsewhere slots=2\n", known) == "elsewhere slots=2\n"
    assert rewrite_hostfile("", known) == ""


def _pod(name: str, label: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "ml", "labels": {"app": label}}, "spec": spec}


def test_names_resolve_as_in_cluster_dns() -> None:
    services = {
        ("ml", "w"): {"spec": {"clusterIP": "None", "selector": {"app": "w"}}},
        ("ml", "web"): {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}},
        ("ml", "empty"): {"spec": {"clusterIP": "None"}},
    }
    pods = [
        _pod("w-1", "w", hostname="w-1", subdomain="w"),
        _pod("web-0", "web", containers=[{"ports": [{"name": "http", "containerPort": 8080}]}]),
    ]
    directory = Directory(
        "ml",
        lambda ns, name: services.get((ns, name)),
        lambda ns: pods if ns == "ml" else [],
        lambda pod: Endpoint(f"ip-of-{pod['metadata']['name']}", {8080: 20080}),
        {"kubernetes.default.svc": Endpoint("127.0.0.1", {443: 6443})},
    )
    for name in (
        "w",
        "w.ml",
        "w.ml.svc",
        "w.ml.svc.cluster.local",
        "w-1.w",
        "w-1.w.ml.svc",
        "w-1.w.ml.svc.cluster.local",
    ):
        found = directory(name)
        assert found, name
        assert found.ip == "ip-of-w-1"
    web = directory("web")
    assert web
    assert web.port(80) == 20080
    api = directory("kubernetes.default.svc")
    assert api
    assert api.port(443) == 6443
    for name in ("empty", "nobody", "w.other.svc", "w-2.w.ml.svc", "example.com", "a.b.c.d", "w.ml.svc.example.org"):
        assert directory(name) is None, name
