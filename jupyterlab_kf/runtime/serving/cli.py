"""The command line of ``unit``, and the environment that Seldon's operator writes for its container.

Options of TF Serving, Triton and KServe's servers that say the same are taken under their names too, and so is
MLServer's environment: their images stand for this program. What has no meaning here is said and ignored.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .identity import Identity, parameters
from .messages import Refusal
from .server import Options, say, serve

if TYPE_CHECKING:
    from .component import Unit

MEGA = 1 << 20


def main(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Serve one class or model, or a repository of models."""
    env = os.environ if environment is None else environment
    try:
        arguments = read(argv, env)
        options = options_of(arguments, env)
    except Refusal as refusal:
        say(refusal.info)
        return 2
    return serve(lambda: units_of(arguments, env), options)


def parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options, with what the environment says as their defaults."""
    made = argparse.ArgumentParser(
        "unit", description="Serve a class or a model over REST and gRPC.", allow_abbrev=False
    )
    what = made.add_argument_group("what is served")
    what.add_argument("interface", nargs="*", help="the same as --class, as Seldon's wrapper takes it")
    what.add_argument("--class", dest="spec", default="", help="module.Class of the user's code")
    what.add_argument(
        "--path", action="append", default=[], help="a folder of the user's code; the working one always is"
    )
    what.add_argument(
        "--model", "--model_base_path", "--model_dir", default=env.get("MLSERVER_MODEL_URI", ""), help="file or folder"
    )
    what.add_argument("--model-repository", "--model-store", default="", help="a folder of models, as Triton has it")
    what.add_argument(
        "--load-model", action="append", default=[], help="a model of the repository; all when none is named"
    )
    kind = env.get("MLSERVER_MODEL_IMPLEMENTATION", "")
    what.add_argument("--kind", "--framework", default=kind, help="kind of the model; recognised when not given")
    name = env.get("MLSERVER_MODEL_NAME") or env.get("PREDICTIVE_UNIT_ID", "")
    what.add_argument("--name", "--model_name", default=name, help="the name by which clients know it")
    text = env.get("PREDICTIVE_UNIT_PARAMETERS", "[]")
    what.add_argument("--parameters", default=text, help="JSON list of name, value and type")
    where = made.add_argument_group("where it listens")
    where.add_argument("--host", default=host_of(env))
    rest = _number(env, "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "MLSERVER_HTTP_PORT", default=9000)
    where.add_argument("--http-port", "--rest_api_port", "--http_port", type=int, default=rest)
    rpc = _number(env, "PREDICTIVE_UNIT_GRPC_SERVICE_PORT", "MLSERVER_GRPC_PORT", default=0)
    where.add_argument("--grpc-port", "--port", type=int, default=rpc, help="no gRPC when 0")
    metrics = _number(env, "PREDICTIVE_UNIT_METRICS_SERVICE_PORT", "MLSERVER_METRICS_PORT", default=0)
    where.add_argument("--metrics-port", type=int, default=metrics, help="one more port for metrics")
    how = made.add_argument_group("how it serves")
    how.add_argument("--workers", type=int, default=_number(env, "GUNICORN_WORKERS", default=1), help="processes")
    how.add_argument("--threads", type=int, default=_number(env, "GUNICORN_THREADS", default=1), help="calls at a time")
    how.add_argument("--queue", type=int, default=1000, help="requests that may wait for a call")
    how.add_argument("--batch-size", type=int, default=0, help="rows of requests that are joined into one call")
    how.add_argument("--batch-wait", type=float, default=2.0, help="milliseconds that a request waits for others")
    how.add_argument("--max-body", type=int, default=64 * MEGA, help="bytes")
    how.add_argument("--drain", type=float, default=3.0, help="seconds of serving on after SIGTERM")
    how.add_argument("--grace", type=float, default=10.0, help="seconds that a running request has after that")
    how.add_argument("--service-type", default="MODEL", help=argparse.SUPPRESS)
    return made


def read(argv: Sequence[str], env: Mapping[str, str]) -> argparse.Namespace:
    """The command line; what is unknown is said and left out."""
    arguments, unknown = parser(env).parse_known_args(list(argv))
    for one in unknown:
        say(f"{one} has no meaning here and is ignored")
    # Triton's container names its program first, and Seldon's old wrapper its protocol last.
    named = [one for one in arguments.interface if one not in {"REST", "GRPC"} and not one.endswith("/tritonserver")]
    arguments.spec = arguments.spec or (named[0] if named else "")
    arguments.parameters = parameters(arguments.parameters)
    if not arguments.spec and not arguments.model_repository:
        arguments.model = arguments.model or str(arguments.parameters.get("model_uri", ""))
        if not arguments.model:
            raise Refusal("nothing to serve: name a class with --class module.Class, or a model with --model PATH")
    for name in ("workers", "threads", "queue", "max_body"):
        if getattr(arguments, name) < 1:
            raise Refusal(f"--{name.replace('_', '-')} must be at least 1")
    return arguments


def options_of(arguments: argparse.Namespace, env: Mapping[str, str]) -> Options:
    """How to serve."""
    return Options(
        host=arguments.host,
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        metrics_port=arguments.metrics_port if arguments.metrics_port != arguments.http_port else 0,
        metrics_path=env.get("PREDICTIVE_UNIT_METRICS_ENDPOINT") or env.get("MLSERVER_METRICS_ENDPOINT") or "",
        workers=arguments.workers,
        threads=arguments.threads,
        queue=arguments.queue,
        batch_size=arguments.batch_size,
        batch_wait=arguments.batch_wait / 1000,
        max_body=arguments.max_body,
        drain=arguments.drain,
        grace=arguments.grace,
    )


def units_of(arguments: argparse.Namespace, env: Mapping[str, str]) -> list[Unit]:
    """What is served; imports what that needs."""
    from . import loading

    identity = Identity.of(env)
    given: dict[str, Any] = arguments.parameters
    if arguments.spec:
        return [loading.from_class(arguments.spec, given, name=arguments.name, identity=identity, paths=arguments.path)]
    if arguments.model_repository:
        return loading.from_repository(arguments.model_repository, arguments.load_model, identity=identity)
    sys.path[:0] = [*arguments.path, os.getcwd()]  # noqa: PTH109  pickles may hold the user's own classes
    return [loading.from_model(arguments.model, arguments.kind, given, name=arguments.name, identity=identity)]


def host_of(env: Mapping[str, str]) -> str:
    """Where to listen.

    A pod of the embedded cluster has an address of this machine to itself. In a real pod all addresses are the pod's,
    and its neighbours ask at localhost. Elsewhere nobody but this machine is to be served unless somebody says so.
    """
    told = env.get("POD_IP", "")
    try:
        address = ipaddress.ip_address(told) if told else None
    except ValueError as error:
        raise Refusal(f"POD_IP is no address: {told!r}") from error
    if address is not None and address.is_loopback:
        return told
    if address is not None:
        return "::" if address.version == 6 else "0.0.0.0"  # noqa: PLR2004
    return "0.0.0.0" if "KUBERNETES_SERVICE_HOST" in env else "127.0.0.1"


def _number(env: Mapping[str, str], *names: str, default: int) -> int:
    for name in names:
        if env.get(name):
            try:
                return int(env[name])
            except ValueError as error:
                raise Refusal(f"the environment variable {name} must be a number, not {env[name]!r}") from error
    return default
