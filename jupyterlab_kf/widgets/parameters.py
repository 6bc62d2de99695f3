"""One parameter of a study's form: its name, its scale and its range as fields, and how its values are spread.

What a person writes there becomes a :class:`~jupyterlab_kf.services.spaces.Distribution` and comes from one. ipywidgets
is imported on first use.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.services import spaces
from jupyterlab_kf.services.spaces import Distribution
from jupyterlab_kf.widgets.markup import Html, el

_SCALES: Final[Mapping[str, Callable[..., Distribution]]] = {
    "number": spaces.uniform,
    "number, log scale": spaces.loguniform,
    "number, normal": spaces.normal,
    "number, log-normal": spaces.lognormal,
    "whole number": spaces.integer,
    "whole number, log scale": spaces.integer,
    "one of": spaces.choice,
}
_STEPS: Final = ("number", "whole number", "whole number, log scale")
_BARS: Final = 24
_DRAWS: Final = 480
_PREVIEW: Final = (96, 26)
SPOKEN: Final = {"description_width": "0px"}
"""For a field whose place says what it is: its name is there for who hears the page."""


def scale_of(one: Distribution) -> str:
    """The word of the form for a distribution's kind."""
    if one.type == "categorical":
        return "one of"
    if one.type == "int":
        return "whole number" if one.shape == "uniform" else "whole number, log scale"
    return {"loguniform": "number, log scale", "normal": "number, normal", "lognormal": "number, log-normal"}.get(
        one.shape.lower(), "number"
    )


def around(value: Any) -> Distribution:
    """A first search space around a plain value: two octaves each way, or the other truth value."""
    if isinstance(value, bool):
        return spaces.choice(value, not value)
    if isinstance(value, str) or value == 0:
        return spaces.choice(value) if isinstance(value, str) else spaces.uniform(0.0, 1.0)
    if isinstance(value, int):
        return spaces.integer(*sorted((max(1, value // 4) if value > 0 else value * 4, value * 4 if value > 0 else -1)))
    low, high = sorted((value / 10, value * 10))
    return spaces.loguniform(low, high) if value > 0 else spaces.uniform(low, high)


def preview(one: Distribution) -> Html:
    """How likely each part of a range is, as bars; the values of a choice as equal ones."""
    width, height = _PREVIEW
    steps = int((one.high - one.low) / one.step + 1e-9) + 1 if one.step else _BARS
    if one.type == "categorical":
        heights, said = [1.0] * len(one.values), f"{len(one.values)} values, each as likely"
    else:
        drawn = [one.draw((index + 0.5) / _DRAWS) for index in range(_DRAWS)]
        bars = min(steps, _BARS)
        counts = [0] * bars
        for at in drawn:
            counts[min(int((at - one.low) / (one.high - one.low) * bars), bars - 1)] += 1
        heights = [number / max(counts) for number in counts]
        said = f"half of the trials below {one.draw(0.5):.3g}, nine of ten below {one.draw(0.9):.3g}"
    wide = width / len(heights)
    marks = [
        el("rect", x=round(index * wide, 1), y=round(height - height * part, 1), width=round(max(wide - 1, 1), 1),
           height=round(height * part, 1), fill="currentColor", opacity="0.6")
        for index, part in enumerate(heights)
    ]  # fmt: skip
    return el("svg", el("title", said), *marks, role="img", aria_label=said, viewBox=f"0 0 {width} {height}",
              width=width, height=height)  # fmt: skip


class ParameterRow:
    """One parameter's fields."""

    def __init__(self, name: str, one: Distribution, changed: Callable[[], None], gone: Callable[[Any], None]) -> None:
        import ipywidgets as w

        def field(width: str, label: str, **more: Any) -> Any:
            made = w.Text(
                description=f"{label} of {name}", style=SPOKEN, continuous_update=False, placeholder=label,
                layout={"width": width}, **more,
            )  # fmt: skip
            made.observe(lambda _: changed(), "value")
            return made

        self.name: Any = field("120px", "name")
        self.scale: Any = w.Dropdown(
            options=list(_SCALES), description=f"scale of {name}", style=SPOKEN, layout={"width": "170px"}
        )
        self.low: Any = field("90px", "from")
        self.high: Any = field("90px", "to")
        self.step: Any = field("80px", "step")
        self.values: Any = field("270px", "values: 'adam', 'sgd'")
        self.preview: Any = w.HTML(layout={"width": "110px"})
        self.remove: Any = w.Button(icon="trash", tooltip=f"Do not search {name}", layout={"width": "36px"})
        self.remove.on_click(lambda _: gone(self))
        self.box: Any = w.HBox(layout={"align_items": "center"})
        self.show(name, one)
        self.scale.observe(lambda _: self._rescaled(changed), "value")

    def _rescaled(self, changed: Callable[[], None]) -> None:
        self._arrange()
        changed()

    def show(self, name: str, one: Distribution) -> None:
        """Fill the fields."""
        scale = scale_of(one)
        self.name.value, self.scale.value = name, scale
        if scale == "one of":
            self.values.value = ", ".join(map(repr, one.values))
        else:
            whole = one.type == "int"
            self.low.value, self.high.value = (f"{int(v) if whole else v:.12g}" for v in (one.low, one.high))
            self.step.value = "" if one.step is None or (whole and one.step == 1) else f"{one.step:.12g}"
        self._arrange()

    def _arrange(self) -> None:
        """Show the fields that the kind has."""
        scale = self.scale.value
        middle = [self.values] if scale == "one of" else [self.low, self.high]
        step = [self.step] if scale in _STEPS else []
        self.box.children = [self.name, self.scale, *middle, *step, self.preview, self.remove]

    def read(self) -> tuple[str, Distribution]:
        """The name and the distribution.

        Raises:
            UsageError: a field makes no sense; names the parameter.
        """
        name, scale = self.name.value.strip(), self.scale.value
        if not name.isidentifier():
            raise UsageError(f"parameter {name!r}: write the name of a variable")
        try:
            if scale == "one of":
                one = spaces.choice(*_literals(self.values.value))
            else:
                step = [self.step.value] if scale in _STEPS and self.step.value.strip() else []
                numbers = [_number(word) for word in (self.low.value, self.high.value, *step)]
                log = {"log": True} if scale == "whole number, log scale" else {}
                one = _SCALES[scale](*numbers, **log)
        except UsageError as error:
            self.preview.value = ""
            raise UsageError(f"parameter {name}: {error.message}", hint=error.hint) from error
        self.preview.value = str(preview(one))
        return name, one


def _number(word: str) -> float | int:
    try:
        value = float(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a number" if word.strip() else "say from where to where") from None
    return int(value) if value.is_integer() and "." not in word and "e" not in word.lower() else value


def _literals(words: str) -> list[Any]:
    """``'adam', 'sgd', 3``: literals, or bare words that are texts."""
    try:
        found = ast.literal_eval(f"[{words}]")
    except (ValueError, SyntaxError):
        found = [word.strip() for word in words.split(",") if word.strip()]
    return list(found)
