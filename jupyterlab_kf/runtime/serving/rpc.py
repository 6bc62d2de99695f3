"""A unit over gRPC: Seldon's services, Open Inference's and TensorFlow Serving's, and the health that probes ask for.

One server has them all. Handlers are found by the descriptors, so a method that is declared and not written fails at
the start, not at a call. A refusal becomes gRPC's status for its HTTP code, with the same words.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from . import protobufs
from .component import Unit
from .messages import Message, Refusal
from .protobufs import Proto
from .protos import message, service
from .service import Service
from .tensors import TENSORFLOW, TF_NAMES

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
SERVICES = (
    *(f"seldon.protos.{one}" for one in ("Generic", "Model", "Router", "Transformer", "OutputTransformer", "Combiner")),
    "seldon.protos.Seldon",
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
)
AVAILABLE, UNLOADING = 30, 40
Method = Callable[[Proto], Awaitable[Proto]]


def server(given: Service, *, limit: int, shared: bool = False) -> grpc.aio.Server:
    """A server that has no port yet; with ``shared``, workers may have the same one."""
    options = [
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", -1),
    ]
    made = grpc.aio.server(options=options)
    methods = Methods(given)
    handlers = [grpc.method_handlers_generic_handler(name, dict(_handlers(name, methods))) for name in SERVICES]
    made.add_generic_rpc_handlers(handlers)
    return made


def _handlers(name: str, methods: Methods) -> Iterator[tuple[str, grpc.RpcMethodHandler[Any, Any]]]:
    """The methods of a service, each with what reads and writes its messages."""
    for method in service(name).methods:
        function = getattr(methods, _snake(method.name) if name != "grpc.health.v1.Health" else "health_check")
        reads = message(method.input_type.full_name).FromString
        writes = message(method.output_type.full_name).SerializeToString
        if method.server_streaming:
            yield method.name, grpc.stream_stream_rpc_method_handler(function, reads, writes)
        else:
            # Read by us: grpc would answer bytes that are no message with a code that says nothing.
            called = _called(function, _snake(method.name), methods.service, reads)
            yield method.name, grpc.unary_unary_rpc_method_handler(called, None, writes)


def _read(reads: Callable[[bytes], Proto], raw: bytes) -> Proto:
    """A message.

    Raises:
        Refusal: the bytes are none.
    """
    try:
        return reads(raw)
    except DecodeError as error:
        raise Refusal(f"the request's bytes are no message of this method: {error}") from error


def _called(
    function: Method, name: str, given: Service, reads: Callable[[bytes], Proto]
) -> Callable[[bytes, Any], Awaitable[Proto]]:
    metrics = given.unit.metrics

    async def call(raw: bytes, context: Any) -> Proto:
        start = time.perf_counter()
        code = 200
        try:
            return await function(_read(reads, raw))
        except Refusal as refusal:
            code = refusal.code
            await context.abort(CODES.get(code, _fallback(code)), refusal.info)
        except Exception as error:  # noqa: BLE001  a fault of ours must be told too
            code = 500
            sys.stderr.write(traceback.format_exc())
            await context.abort(grpc.StatusCode.INTERNAL, f"the server failed: {type(error).__name__}: {error}")
        finally:
            metrics.request(name, code, time.perf_counter() - start)

    return call


def _fallback(code: int) -> grpc.StatusCode:
    return grpc.StatusCode.INTERNAL if code >= 500 else grpc.StatusCode.INVALID_ARGUMENT  # noqa: PLR2004


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


class Methods:
    """What each method does, under its name in small letters."""

    def __init__(self, given: Service) -> None:
        self.service = given

    # Seldon

    async def predict(self, request: Proto) -> Proto:
        """``Predict``, which Seldon and TensorFlow Serving both have."""
        if request.DESCRIPTOR.full_name == "tensorflow.serving.PredictRequest":
            return await self._tensorflow_predict(request)
        return await self._verb("predict", request)

    async def transform_input(self, request: Proto) -> Proto:
        """``TransformInput``."""
        return await self._verb("transform_input", request)

    async def transform_output(self, request: Proto) -> Proto:
        """``TransformOutput``."""
        return await self._verb("transform_output", request)

    async def route(self, request: Proto) -> Proto:
        """``Route``."""
        return await self._verb("route", request)

    async def aggregate(self, request: Proto) -> Proto:
        """``Aggregate``."""
        messages = [protobufs.from_seldon(one) for one in request.seldonMessages]
        return protobufs.to_seldon(await self.service.verb("aggregate", messages))

    async def send_feedback(self, request: Proto) -> Proto:
        """``SendFeedback``."""
        return protobufs.to_seldon(await self.service.verb("send_feedback", protobufs.feedback(request)))

    async def metadata(self, _request: Proto) -> Proto:
        """``Metadata`` of a model."""
        return protobufs.to_metadata(self.service.unit.metadata)

    async def graph_metadata(self, _request: Proto) -> Proto:
        """``GraphMetadata``, which only an engine knows."""
        raise Refusal("a unit knows nothing of its graph: ask the engine", code=501)

    async def _verb(self, verb: str, request: Proto) -> Proto:
        answer: Message = await self.service.verb(verb, protobufs.from_seldon(request))
        return protobufs.to_seldon(answer)

    # Open Inference

    async def server_live(self, _request: Proto) -> Proto:
        """``ServerLive``."""
        return message("inference.ServerLiveResponse")(live=True)

    async def server_ready(self, _request: Proto) -> Proto:
        """``ServerReady``."""
        return message("inference.ServerReadyResponse")(ready=self._ready)

    async def model_ready(self, request: Proto) -> Proto:
        """``ModelReady``."""
        self.service.named(request.name, request.version)
        return message("inference.ModelReadyResponse")(ready=self._ready)

    async def server_metadata(self, _request: Proto) -> Proto:
        """``ServerMetadata``."""
        return message("inference.ServerMetadataResponse")(name="jupyterlab-kf", version="1")

    async def model_metadata(self, request: Proto) -> Proto:
        """``ModelMetadata``, which Seldon and Open Inference both have."""
        if request.DESCRIPTOR.full_name == "seldon.protos.SeldonModelMetadataRequest":
            return await self.metadata(request)
        unit = self.service.named(request.name, request.version)
        made = message("inference.ModelMetadataResponse")(name=unit.name, versions=[self.service.version(unit)])
        made.platform = unit.signature.platform or "python"
        for field, specs in (("inputs", unit.signature.inputs), ("outputs", unit.signature.outputs)):
            for one in specs:
                getattr(made, field).add(name=one.name, datatype=one.datatype, shape=one.shape)
        return made

    async def model_infer(self, request: Proto) -> Proto:
        """``ModelInfer``."""
        unit = self.service.named(request.model_name, request.model_version)
        asked = protobufs.from_infer(request)
        outputs = await self.service.infer(unit, asked.inputs, asked.wanted)
        return protobufs.to_infer(asked, unit.name, self.service.version(unit), outputs)

    async def model_stream_infer(self, requests: AsyncIterator[Proto], _context: Any) -> AsyncIterator[Proto]:
        """``ModelStreamInfer``: an answer or an error for each request, in their order."""
        made = message("inference.ModelStreamInferResponse")
        async for request in requests:
            try:
                yield made(infer_response=await self.model_infer(request))
            except Refusal as refusal:
                yield made(error_message=refusal.info)

    async def repository_index(self, _request: Proto) -> Proto:
        """``RepositoryIndex``."""
        made = message("inference.RepositoryIndexResponse")()
        for unit in self.service.units.values():
            made.models.add(name=unit.name, version=self.service.version(unit), state="READY")
        return made

    @property
    def _ready(self) -> bool:
        return self.service.ready and not self.service.draining

    # TensorFlow Serving

    async def _tensorflow_predict(self, request: Proto) -> Proto:
        unit = self._specified(request.model_spec)
        inputs = {name: protobufs.from_tensor(one, f"input {name}") for name, one in request.inputs.items()}
        if not inputs:
            raise Refusal("the request has no inputs")
        outputs = await self.service.infer(unit, inputs, list(request.output_filter))
        made = message("tensorflow.serving.PredictResponse")()
        for name, array in outputs.items():
            made.outputs[name].CopyFrom(protobufs.to_tensor(array))
        self._specify(made.model_spec, unit)
        made.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
        return made

    async def get_model_metadata(self, request: Proto) -> Proto:
        """``GetModelMetadata``: the signature, which is the only field there is."""
        unit = self._specified(request.model_spec)
        made = message("tensorflow.serving.GetModelMetadataResponse")()
        self._specify(made.model_spec, unit)
        signatures = message("tensorflow.serving.SignatureDefMap")()
        told = signatures.signature_def["serving_default"]
        told.method_name = "tensorflow/serving/predict"
        for field, specs in ((told.inputs, unit.signature.inputs), (told.outputs, unit.signature.outputs)):
            for one in specs:
                entry = field[one.name]
                entry.name = f"{one.name}:0"
                entry.dtype = TENSORFLOW[TF_NAMES[one.datatype]][0] if one.datatype in TF_NAMES else 0
                for size in one.shape:
                    entry.tensor_shape.dim.add(size=size)
        made.metadata["signature_def"].Pack(signatures)
        return made

    async def get_model_status(self, request: Proto) -> Proto:
        """``GetModelStatus``."""
        unit = self._specified(request.model_spec)
        made = message("tensorflow.serving.GetModelStatusResponse")()
        state = AVAILABLE if self._ready else UNLOADING
        made.model_version_status.add(version=int(self.service.version(unit)), state=state).status.SetInParent()
        return made

    def _specified(self, spec: Proto) -> Unit:
        if spec.version_label:
            raise Refusal(f"there is no version with the label {spec.version_label}", code=404)
        version = str(spec.version.value) if spec.HasField("version") else ""
        return self.service.named(spec.name or self.service.unit.name, version)

    def _specify(self, spec: Proto, unit: Unit) -> None:
        spec.name = unit.name
        version = self.service.version(unit)
        if version.isdigit():
            spec.version.value = int(version)

    # Kubernetes

    async def health_check(self, _request: Proto) -> Proto:
        """``Check`` of gRPC's health: serving, or not."""
        return message("grpc.health.v1.HealthCheckResponse")(status=1 if self._ready else 2)
