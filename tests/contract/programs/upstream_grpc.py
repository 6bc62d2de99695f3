"""A gRPC server that takes any method of bytes and says which one it was and who called."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Any(grpc.GenericRpcHandler):
    def service(self, call):
        seldon = dict(call.invocation_metadata).get("seldon", "")

        def behave(request, _context):
            return f"{call.method} {seldon} ".encode() + request

        return grpc.unary_unary_rpc_method_handler(behave)


server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([Any()])
server.add_insecure_port(f"{os.environ['POD_IP']}:{sys.argv[1]}")
server.start()
server.wait_for_termination()
