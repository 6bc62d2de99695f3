"""Messages and services of the gRPC protocols, by their full names, in a pool of descriptors of their own.

The ordinary generated modules would enter protobuf's one global pool, where TensorFlow, tritonclient and Seldon's own
package have the same names, and a process that serves a TensorFlow model imports both. ``make protos`` compiles the
.proto files beside this one into ``descriptors``; they say what is on the wire and nothing else.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from .descriptors import DESCRIPTORS


@cache
def pool() -> DescriptorPool:
    """The pool, made at its first use."""
    made = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode("".join(DESCRIPTORS))).file:
        made.AddSerializedFile(file.SerializeToString())
    return made


@cache
def message(name: str) -> Any:
    """The class of a message, such as ``seldon.protos.SeldonMessage``."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def service(name: str) -> ServiceDescriptor:
    """A service, such as ``inference.GRPCInferenceService``."""
    return pool().FindServiceByName(name)
