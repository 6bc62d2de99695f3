"""What a process serves: its units by name, whether it is ready, and where their calls run. Protocols share it.

The first unit is the one that Seldon's paths mean, which have no name in them; the others are models of a repository.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .batching import Batcher, cut_outputs, cut_rows
from .component import Answer, Unit
from .messages import ARRAYS, Array, Feedback, Message, Refusal
from .running import Runner


class Service:
    """The units of one process."""

    def __init__(self, units: Sequence[Unit], runner: Runner | None = None, batcher: Batcher | None = None) -> None:
        self.units = {unit.name: unit for unit in units}
        self.unit = units[0]
        self.runner = runner or Runner()
        self.batcher = batcher
        self.ready = False
        self.draining = False
        self.siblings: Callable[[], Awaitable[list[bytes]]] | None = None
        """How to read the metrics of the other workers, where there are some."""

    def load(self) -> None:
        """Have every unit load; only then is there something to serve."""
        for unit in self.units.values():
            unit.load()
        self.ready = True

    def named(self, name: str, version: str = "") -> Unit:
        """A unit by the name, and where it is given the version, that a path has."""
        unit = self.units.get(name)
        if unit is None:
            raise Refusal(f"there is no model {name!r} here; there is {', '.join(self.units)}", code=404)
        if version and version != self.version(unit):
            raise Refusal(f"the model {name} has the version {self.version(unit)}, not {version}", code=404)
        return unit

    @staticmethod
    def version(unit: Unit) -> str:
        """What is served under a name: one version."""
        return unit.version or "1"

    async def predict(self, message: Message) -> Message:
        """Seldon's ``predict``, joined with others where that was asked for and is possible."""
        unit = self.unit
        if self.batcher is None or not unit.joins or message.kind not in ARRAYS:
            return await self.runner.run(unit.predict, message)
        names = tuple(message.names)

        def call(inputs: Mapping[str, Array]) -> Answer:
            return unit.ask(inputs[""], names)

        answer = await self.batcher.ask((unit.name, names), {"": message.data}, call, _cut_answer)
        # The class has its say in meta too, which is a call like any other.
        return await self.runner.run(unit.reply, message, answer)

    async def infer(self, unit: Unit, inputs: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Named tensors of the other protocols."""
        if self.batcher is None or not unit.joins:
            return await self.runner.run(unit.infer, inputs, wanted)

        def call(joined: Mapping[str, Array]) -> dict[str, Array]:
            return unit.infer(joined, wanted)

        found: dict[str, Array] = await self.batcher.ask((unit.name, tuple(wanted)), inputs, call, cut_outputs)
        return found

    async def verb(self, verb: str, given: Message | Sequence[Message] | Feedback) -> Message:
        """Any other verb of Seldon's."""
        if verb == "predict" and isinstance(given, Message):
            return await self.predict(given)
        function: Callable[..., Message] = getattr(self.unit, verb)
        return await self.runner.run(function, given)


def _cut_answer(answer: Any, rows: Sequence[int]) -> list[Any] | None:
    data = answer.data
    if not isinstance(data, list | np.ndarray) and hasattr(data, "__array__"):
        data = np.asarray(data)
    parts = cut_rows(data, rows)
    return None if parts is None else [Answer(part, answer.tags, answer.metrics) for part in parts]
