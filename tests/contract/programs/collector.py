"""Takes spans over gRPC as OpenTelemetry's collector does, and prints the words in them."""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Spans(grpc.GenericRpcHandler):
    def service(self, call):
        def take(request, _context):
            words = [found.decode() for found in re.findall(rb"[\x20-\x7e]{3,}", request)]
            print(call.method, " ".join(words), flush=True)
            return b""

        return grpc.unary_unary_rpc_method_handler(take)


server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([Spans()])
server.add_insecure_port(f"{os.environ['POD_IP']}:{sys.argv[1]}")
server.start()
server.wait_for_termination()
