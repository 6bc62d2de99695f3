"""The graph executor: stands for Seldon's executor 1.17.1, with the same command line, environment and answers.

graph, walk             pure: a predictor's spec as frozen nodes, and one request's way through them
payloads, wire          pure: what must be known of a protocol's bodies, as JSON and as protobuf; all else is bytes
calls, http, rpc        units that are servers, over HTTP and gRPC
builtin, fused          units that are not: Seldon's own four, and classes and models in this process
web, rpc                the faces: routes, codes, headers, errors
readiness, knowledge    whether units are there, and what they say of themselves
metrics, payloadlog     what is counted, and what is copied to loggers
options, serve          from the command line to a running engine, and its end
"""

from __future__ import annotations

import os


def main(argv: list[str]) -> int:
    """Serve the graph of the environment or of ``--file``."""
    from .serve import main as serve

    return serve(argv, os.environ)
