"""A user's class or a model behind Seldon's verbs, in process: the contract for servers and the graph executor.

A ``Unit`` takes and gives messages (module ``messages``); it knows no wire, starts no thread and holds no lock.

- ``predict``, ``transform_input``, ``transform_output`` and ``route`` take one ``Message`` and answer one;
  ``aggregate`` takes several; ``send_feedback`` takes a ``Feedback``. ``route`` answers a message that holds one whole
  number (``branch_of`` reads it): a child, -1 for all children, -2 for none.
- A verb that the class lacks: ``predict`` answers an empty array, the transformations hand the message on, ``route``
  and ``aggregate`` refuse, ``send_feedback`` answers an empty array. ``verbs`` says which ones it has.
- Whatever goes wrong is raised as ``Refusal`` and as nothing else; a failure in the user's code has code 500 and
  names the user's line.
- An answer has its request's kind where the result allows it, and of the request's meta: tags, metrics, request path
  and puid; the user's tags and metrics are added. A message that was given in is never changed.
- Calls are synchronous and may be slow. Who calls from an event loop decides where (``running``); a class need not be
  safe for threads, so one call at a time unless its user said otherwise.
- ``infer`` is ``predict`` for protocols of named tensors: one input is an array for the class, several are a dict.
- ``ask`` and ``reply`` are ``predict`` in two halves, for those who join several requests into one call.

Code that Seldon's wrapper serves is served without change: no base class is needed, ``*_raw`` variants come first, and
what raises NotImplementedError (or Seldon's own exception of that name) counts as missing.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import seldon
from .blame import blamed, unimplemented
from .identity import Identity
from .messages import ARRAYS, Array, Feedback, Json, Kind, Message, Refusal, Signature, TensorSpec
from .metrics import Metrics, checked
from .tensors import objects

# Seldon's word for each verb in the label "method" of metrics.
METHODS = {
    "predict": "predict",
    "transform_input": "inputtransform",
    "transform_output": "outputtransform",
    "route": "router",
    "aggregate": "aggregate",
    "send_feedback": "feedback",
    "health_status": "health",
}
VERBS = tuple(METHODS)
OUTPUT = "predict"
"""The name of an output that has none, as with MLServer."""


@dataclass(slots=True)
class Answer:
    """What the user's code returned, with what it said for this request alone (as a ``SeldonResponse`` does)."""

    data: Any = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()


class Unit:
    """One user's object under one name."""

    def __init__(
        self, target: object, name: str = "", *, identity: Identity | None = None, signature: Signature | None = None
    ) -> None:
        self.identity = identity or Identity()
        self.name = name or self.identity.unit or type(target).__name__
        self.target = target
        self.version = ""
        self.metadata: Json = {}
        self.metrics = Metrics(self.identity.labels)
        self.verbs = frozenset(verb for verb in VERBS if _method(target, verb) or _method(target, f"{verb}_raw"))
        self.signature = signature or Signature()
        self._calls = {verb: _adapted(method) for verb in VERBS if (method := _method(target, verb))}
        self._raw = {verb: method for verb in VERBS if (method := _method(target, f"{verb}_raw"))}
        self._tags = _method(target, "tags")
        self._metrics = _method(target, "metrics")

    def __repr__(self) -> str:
        return f"Unit({self.name!r}, {type(self.target).__name__})"

    @property
    def joins(self) -> bool:
        """Whether several requests may be one call: not where a class sees whole messages."""
        return "predict" in self._calls and "predict" not in self._raw

    def load(self) -> None:
        """Have the class load what it needs; to be called once, before anything else."""
        load = _method(self.target, "load")
        if load:
            self._run("load", load)
        # A class may know its metadata only once it has loaded.
        self.metadata = self._metadata()
        if not self.signature.inputs and not self.signature.outputs:
            found = getattr(self.target, "signature", None)
            self.signature = found if isinstance(found, Signature) else signature_of(self.metadata)

    # The verbs

    def predict(self, message: Message) -> Message:
        """What the model says."""
        return self._through("predict", message) or self.reply(
            message, self.ask(message.data, message.names, message.meta)
        )

    def ask(self, data: Any, names: Sequence[str], meta: Mapping[str, Any] | None = None) -> Answer:
        """The first half of ``predict``: the call."""
        call = self._calls.get("predict")
        return self._answer("predict", call, data, names, meta) or Answer(data=np.array([]))

    def reply(self, message: Message, answer: Answer, verb: str = "predict") -> Message:
        """The second half: the call's result as an answer to one request."""
        data, kind, names = self.shaped(answer.data, message.kind)
        return Message(data, kind, names, self._meta(message.meta, answer, verb))

    def transform_input(self, message: Message) -> Message:
        """What the model is to be asked instead."""
        return self._transform("transform_input", message)

    def transform_output(self, message: Message) -> Message:
        """What is to be answered instead."""
        return self._transform("transform_output", message)

    def _transform(self, verb: str, message: Message) -> Message:
        if raw := self._through(verb, message):
            return raw
        answer = self._answer(verb, self._calls.get(verb), message.data, message.names, message.meta)
        if answer is None:
            return Message(message.data, message.kind, message.names, self._meta(message.meta, Answer(), verb))
        return self.reply(message, answer, verb)

    def route(self, message: Message) -> Message:
        """Which child is to answer."""
        if raw := self._through("route", message):
            return raw
        answer = self._answer("route", self._calls.get("route"), message.data, message.names, message.meta)
        if answer is None:
            raise self._missing("route(self, features, names)")
        branch = answer.data
        if isinstance(branch, bool) or not isinstance(branch, numbers.Integral):
            raise self._wrong(f"route() must return a whole number, not {branch!r}")
        kind: Kind = message.kind if message.kind in ARRAYS else "tensor"
        return Message(np.array([[int(branch)]]), kind, ["t:0"], self._meta({}, answer, "route", message.meta))

    def aggregate(self, messages: Sequence[Message]) -> Message:
        """What several children's answers are together."""
        if not messages:
            raise Refusal(f"{self.name}: there is nothing to aggregate")
        if "aggregate" in self._raw and (raw := self._raw_answer("aggregate", _raw_messages(messages))):
            return raw
        call = self._calls.get("aggregate")
        answer = self._answer("aggregate", call, [one.data for one in messages], [one.names for one in messages], None)
        if answer is None:
            raise self._missing("aggregate(self, features_list, names_list)")
        joined: Json = {"tags": {}, "requestPath": {}, "metrics": []}
        for one in messages:
            joined["tags"] |= one.meta.get("tags") or {}
            joined["requestPath"] |= one.meta.get("requestPath") or {}
            joined["metrics"] += one.meta.get("metrics") or []
        data, kind, names = self.shaped(answer.data, messages[0].kind)
        return Message(data, kind, names, self._meta(joined, answer, "aggregate", messages[0].meta))

    def send_feedback(self, feedback: Feedback) -> Message:
        """Learn how good an answer was; a router learns from ``meta.routing`` of the answer which child gave it."""
        self.metrics.reward(feedback.reward)
        if "send_feedback" in self._raw and (raw := self._raw_answer("send_feedback", _raw_feedback(feedback))):
            return raw
        call = self._calls.get("send_feedback")
        answer = Answer()
        if call is not None:
            routing = (feedback.response.meta.get("routing") or {}).get(self.name)
            given = feedback.request.data, feedback.request.names, feedback.reward, feedback.truth.data
            answer = self._run("send_feedback", call.plain, *given, routing=routing) or answer
        if answer.data is None:
            answer.data = np.array([])
        data, kind, names = self.shaped(answer.data, feedback.request.kind)
        return Message(data, kind, names, self._meta({}, answer, "send_feedback", feedback.request.meta))

    def health_status(self) -> Message:
        """What the class says of its own health; a class that says nothing is healthy."""
        if "health_status" in self._raw and (raw := self._raw_answer("health_status")):
            return raw
        call = self._calls.get("health_status")
        answer = (call and self._run("health_status", call.plain)) or Answer(data="healthy")
        data, kind, names = self.shaped(answer.data, "")
        return Message(data, kind, names, self._meta({}, answer, "health_status"))

    def infer(self, inputs: Mapping[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
        """Named tensors in and out; of the outputs, those that are wanted."""
        own = _method(self.target, "infer")
        if own is not None:
            return dict(self._run("infer", own, inputs, wanted))
        data, names = (next(iter(inputs.values())), ()) if len(inputs) == 1 else (dict(inputs), tuple(inputs))
        answer = self.ask(data, names)
        self._meta({}, answer, "predict")
        result = answer.data
        if isinstance(result, Mapping):
            found = {str(name): self._array(one) for name, one in result.items()}
        else:
            first = self.signature.outputs[0].name if self.signature.outputs else OUTPUT
            name = wanted[0] if len(wanted) == 1 and not self.signature.outputs else first
            found = {name: objects([result]) if isinstance(result, str | bytes) else self._array(result)}
        return chosen(found, wanted, self.name)

    # What the user's code returned

    def shaped(self, data: Any, kind: Kind) -> tuple[Any, Kind, Sequence[str]]:
        """A result as payload, kind and names; numbers keep the kind that the request had."""
        if isinstance(data, str):
            return data, "strData", ()
        if isinstance(data, bytes | bytearray):
            return bytes(data), "binData", ()
        if isinstance(data, Mapping):
            return data, "jsonData", ()
        columns = [str(one) for one in getattr(data, "columns", ())]
        array = np.atleast_1d(self._array(data))
        if array.dtype.kind not in "iufb" or (kind and kind not in ARRAYS):
            kind = "tensor" if array.dtype.kind in "iuf" else "ndarray"
        return array, kind or "tensor", self._names(array, columns)

    def _array(self, data: Any) -> Any:
        if isinstance(data, np.ndarray):
            return data
        if hasattr(data, "detach"):  # a tensor of PyTorch, which may be on an accelerator and hold gradients
            data = data.detach().cpu()
        if isinstance(data, list | tuple | numbers.Number | np.generic) or hasattr(data, "__array__"):
            try:
                return np.asarray(data)
            except (ValueError, TypeError) as error:
                raise self._wrong(f"it returned lists that are no array: {error}") from error
        raise self._wrong(f"it returned {type(data).__name__}, not an array, a list, a dict, a string or bytes")

    def _names(self, array: Any, columns: Sequence[str]) -> Sequence[str]:
        if array.ndim < 2:  # noqa: PLR2004  rows and columns
            return ()
        names = getattr(self.target, "class_names", None)
        if callable(names):
            try:
                names = names()
            except Exception as error:  # whatever the user's code raises
                if not unimplemented(error):
                    raise blamed(error, self.name, "class_names", self.target) from error
                names = None
        if names is not None:
            return [str(one) for one in names]
        return columns or [f"t:{number}" for number in range(array.shape[1])]

    def _meta(self, base: Json, answer: Answer, verb: str, asked: Json | None = None) -> Json:
        """Seldon's meta of an answer: that of the request, with what the class says for this call."""
        tags = {**(base.get("tags") or {}), **(self._said(self._tags, "tags") or {}), **answer.tags}
        own = [*checked(self._said(self._metrics, "metrics") or []), *checked(list(answer.metrics))]
        if own:
            self.metrics.update(own, METHODS[verb])
        metrics = [*(base.get("metrics") or []), *(own if self.identity.metrics_in_answers else ())]
        path = {**self.identity.path, **(base.get("requestPath") or {})}
        puid = (base if asked is None else asked).get("puid")
        meta: Json = {}
        for name, value in (("tags", tags), ("metrics", metrics), ("puid", puid), ("requestPath", path)):
            if value:
                meta[name] = value
        return meta

    def _said(self, method: Callable[[], Any] | None, verb: str) -> Any:
        return None if method is None else self._run(verb, method)

    def _metadata(self) -> Json:
        told = self._said(_method(self.target, "init_metadata") or _method(self.target, "metadata"), "init_metadata")
        told = told if isinstance(told, dict) else {}
        image, _, version = self.identity.image.rpartition(":")
        default = {"name": image or self.name, "versions": [version], "platform": "", "inputs": [], "outputs": []}
        return {**default, "custom": {}, **told, **self.identity.metadata}

    # Calling the user's code

    def _answer(self, verb: str, call: _Call | None, data: Any, names: Any, meta: Any) -> Answer | None:
        if call is None:
            return None
        given = (data, names, meta or {}) if call.meta else (data, names)
        answer: Answer | None = self._run(verb, call.function, *given)
        return answer

    def _run(self, verb: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call the user's code; None where it says that there is no such verb."""
        try:
            result = function(*given, **named)
        except Refusal:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises is told to the client
            if unimplemented(error):
                return None
            raise blamed(error, self.name, verb, self.target) from error
        return _said_for_once(result) if verb in METHODS else result

    def _through(self, verb: str, message: Message) -> Message | None:
        if verb not in self._raw:
            return None
        return self._raw_answer(verb, seldon.to_json(message) if message.source is None else message.source)

    def _raw_answer(self, verb: str, *given: Any) -> Message | None:
        """What a raw method returned; None where it is not implemented after all."""
        value = self._run(f"{verb}_raw", self._raw[verb], *given)
        if value is None:
            return None
        if hasattr(value, "SerializeToString"):
            message = _of_protobuf(value.SerializeToString())
        else:
            message = seldon.from_json(value if isinstance(value, dict) else {"jsonData": value}, empty=True)
        metrics = message.meta.get("metrics")
        if metrics:
            self.metrics.update(checked(metrics), METHODS[verb])
            if not self.identity.metrics_in_answers:
                message.meta = {key: one for key, one in message.meta.items() if key != "metrics"}
        return message

    def _missing(self, signature: str) -> Refusal:
        return Refusal(f"{self.name}: {type(self.target).__name__} has no method {signature}")

    def _wrong(self, text: str) -> Refusal:
        return Refusal(f"{self.name}: {text}", code=500, reason="MICROSERVICE_BAD_RESPONSE")


@dataclass(frozen=True, slots=True)
class _Call:
    """A user's method as it is called: ``function(data, names)``, or with meta as third where the method takes it."""

    function: Callable[..., Any]
    meta: bool
    plain: Callable[..., Any]


def _adapted(method: Callable[..., Any]) -> _Call:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # something written in C
        return _Call(method, False, method)
    if any(one.name == "meta" or one.kind is one.VAR_KEYWORD for one in parameters):
        return _Call(lambda data, names, meta: method(data, names, meta=meta), True, method)
    places = [one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    if len(places) == 1 and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return _Call(lambda data, _names: method(data), False, method)
    return _Call(method, False, method)


def _method(target: object, name: str) -> Callable[..., Any] | None:
    found = getattr(target, name, None)
    # Seldon's base class has every verb, each of which only says that it is not there.
    own = callable(found) and not getattr(found, "__qualname__", "").startswith("SeldonComponent.")
    return found if own else None


def _said_for_once(result: Any) -> Answer:
    if isinstance(result, Answer):
        return result
    # Seldon's SeldonResponse, whosever class it is.
    if hasattr(result, "data") and hasattr(result, "tags") and hasattr(result, "metrics"):
        return Answer(result.data, result.tags or {}, result.metrics or ())
    return Answer(result)


def chosen(outputs: dict[str, Array], wanted: Sequence[str], unit: str) -> dict[str, Array]:
    """Of a model's outputs those that a client wants, in its order; all where it says nothing."""
    missing = [name for name in wanted if name not in outputs]
    if missing:
        raise Refusal(f"{unit} has no output {', '.join(missing)}; it has {', '.join(outputs)}")
    return {name: outputs[name] for name in wanted} if wanted else outputs


def _raw_messages(messages: Sequence[Message]) -> Any:
    if any(one.source is None for one in messages):
        return {"seldonMessages": [seldon.to_json(one) for one in messages]}
    from .protos import message

    return message("seldon.protos.SeldonMessageList")(seldonMessages=[one.source for one in messages])


def _raw_feedback(feedback: Feedback) -> Any:
    """A protobuf always, as from Seldon's wrapper."""
    from . import protobufs

    return protobufs.to_feedback(feedback)


def _of_protobuf(raw: bytes) -> Message:
    """A SeldonMessage of whatever generated class, by what it is on the wire."""
    from . import protobufs
    from .protos import message

    return protobufs.from_seldon(message("seldon.protos.SeldonMessage").FromString(raw), empty=True)


def branch_of(message: Message) -> int:
    """The child that a router's answer names."""
    data = message.data
    try:
        flat = np.asarray(data).ravel()
        if flat.size == 1 and float(flat[0]).is_integer():
            return int(flat[0])
    except (TypeError, ValueError):
        pass
    raise Refusal(f"a router must answer one whole number, not {data!r}", code=500, reason="MICROSERVICE_BAD_RESPONSE")


def signature_of(metadata: Mapping[str, Any]) -> Signature:
    """What ``init_metadata`` says of inputs and outputs, where it says it in tensors."""

    def read(entries: object) -> tuple[TensorSpec, ...]:
        found = [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []
        named = [one for one in found if {"name", "datatype", "shape"} <= one.keys()]
        return tuple(TensorSpec(str(one["name"]), str(one["datatype"]), tuple(map(int, one["shape"]))) for one in named)

    return Signature(read(metadata.get("inputs")), read(metadata.get("outputs")), str(metadata.get("platform", "")))
