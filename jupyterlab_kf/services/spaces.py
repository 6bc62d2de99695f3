"""Search spaces as people write them: ``lr = loguniform(1e-4, 1e-1)`` in a cell, or a dictionary of the same.

A cell's space is read from its text, by syntax: assignments at its top level whose value is a call of one of the
functions below with plain values. The cell is shipped as it is; in a trial the launcher puts the value in place of the
call. Refuses what is no space (an empty range, a logarithm over zero, values that are no plain data) before anything is
created, with the line.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

from jupyterlab_kf.errors import UsageError

_SCALAR: Final = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Distribution:
    """What one parameter may be.

    Attributes:
        type: as in Katib: double, int or categorical.
        values: of a categorical, as they were given.
    """

    type: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    shape: str = "uniform"
    values: tuple[Any, ...] = ()

    def parameter(self, name: str) -> dict[str, Any]:
        """The Experiment's entry for a parameter of that name."""
        if self.type == "categorical":
            space: dict[str, Any] = {"list": [str(value) for value in self.values]}
        else:
            space = {"min": _text(self.low, self.type), "max": _text(self.high, self.type)}
            if self.step is not None:
                space["step"] = _text(self.step, self.type)
        return {"name": name, "parameterType": self.type, "feasibleSpace": {**space, "distribution": self.shape}}

    def expression(self) -> str:
        """The call that makes it, as it stands in a cell."""
        if self.type == "categorical":
            return f"choice({', '.join(map(repr, self.values))})"
        shape = self.shape.lower()
        if self.type == "int":
            words = [str(int(one)) for one in (self.low, self.high, self.step) if one is not None]
            words = words[:2] if words[2:] == ["1"] else words
            return f"integer({', '.join([*words, *(['log=True'] if shape == 'loguniform' else [])])})"
        return f"{shape}({', '.join(_short(one) for one in (self.low, self.high, self.step) if one is not None)})"

    def draw(self, part: float) -> float:
        """The number below which that part of it lies (0 to 1, of a range); steps are not counted."""
        low, high = float(self.low), float(self.high)
        log = self.shape.startswith("log")
        if log:
            low, high = math.log(low), math.log(high)
        if self.shape.lower().endswith("normal"):
            # The ends are three standard deviations away, as in a trial.
            part = min(max(NormalDist(0.5, 1 / 6).inv_cdf(min(max(part, 1e-9), 1 - 1e-9)), 0.0), 1.0)
        at = low + (high - low) * part
        return math.exp(at) if log else at

    def middle(self) -> Any:
        """A plain value for who does not search: the median, or the first of some values."""
        if self.type == "categorical":
            return self.values[0]
        at = self.draw(0.5)
        if self.type == "int":
            return round(at)
        return float(f"{at:.3g}")

    def reading(self) -> dict[str, Any]:
        """How the launcher turns a trial's text back into a value."""
        known = {str(value): value for value in self.values} if self.type == "categorical" else None
        return {"type": self.type, "values": known}


def of_parameter(entry: Mapping[str, Any], known: Distribution | None = None) -> Distribution:
    """The distribution that an Experiment's parameter says; ``known`` lends its values' types to equal texts.

    Raises:
        UsageError: it makes no sense, or cannot be said by one of the functions.
    """
    space, kind = entry.get("feasibleSpace") or {}, str(entry.get("parameterType"))
    if kind in ("categorical", "discrete"):
        typed = {str(value): value for value in known.values} if known is not None else {}
        texts = [str(text) for text in space.get("list") or ()]
        return choice([typed.get(text, _number(text) if kind == "discrete" else text) for text in texts])
    shape = str(space.get("distribution") or "uniform")
    try:
        low, high = float(space["min"]), float(space["max"])
        step = float(space["step"]) if space.get("step") not in (None, "") else None
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"parameter {entry.get('name')}: min, max and step must be numbers") from None
    if kind == "int":
        if shape not in ("uniform", "logUniform"):
            raise UsageError(f"parameter {entry.get('name')}: whole numbers are uniform or logUniform")
        return integer(*(_whole(value) for value in (low, high, 1.0 if step is None else step)), log=shape != "uniform")
    if kind != "double" or shape.lower() not in FUNCTIONS:
        raise UsageError(f"parameter {entry.get('name')}: {kind} with distribution {shape} is not known")
    return _range(shape.lower(), low, high, step, shape)


def _whole(value: float) -> int:
    """A whole number as such; another as it is, to be refused by who takes it."""
    return int(value) if value.is_integer() else value  # type: ignore[return-value]


def _number(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and text.lstrip("+-").isdecimal() else value


def _short(value: float) -> str:
    """The shortest text of a number that reads back as the same."""
    return next(text for text in (f"{value:g}", repr(value)) if float(text) == value)


def _text(value: float, type_: str) -> str:
    return str(int(value)) if type_ == "int" else repr(float(value))


def uniform(low: float, high: float, step: float | None = None) -> Distribution:
    """Any number between two, or every step from the lower one."""
    return _range("uniform", low, high, step, "uniform")


def loguniform(low: float, high: float) -> Distribution:
    """A number between two of which every order of magnitude is as likely: learning rates, regularisation."""
    return _range("loguniform", low, high, None, "logUniform")


def normal(low: float, high: float) -> Distribution:
    """A number between two, the middle more likely than the ends (three standard deviations away)."""
    return _range("normal", low, high, None, "normal")


def lognormal(low: float, high: float) -> Distribution:
    """As :func:`normal`, over orders of magnitude."""
    return _range("lognormal", low, high, None, "logNormal")


def integer(low: int, high: int, step: int = 1, *, log: bool = False) -> Distribution:
    """A whole number from one to another, both included."""
    given: tuple[Any, ...] = (low, high, step)
    for value in given:
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"integer({low!r}, {high!r}): {value!r} is not a whole number", hint="use uniform")
    made = _range("integer", low, high, step, "logUniform" if log else "uniform")
    return Distribution("int", made.low, made.high, made.step, made.shape)


def choice(*values: Any) -> Distribution:
    """One of some values: ``choice("adam", "sgd")`` or ``choice([16, 32, 64])``."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = tuple(values[0])
    if not values:
        raise UsageError("choice() has nothing to choose from")
    for value in values:
        if not isinstance(value, _SCALAR):
            kind = type(value).__name__
            raise UsageError(
                f"choice: {value!r} is a {kind}", hint="choose among numbers and texts; look things up by them"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"choice: {value!r} is no number that can be written down")
    texts = [str(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise UsageError(f"choice: {twice!r} is there twice")
    return Distribution("categorical", values=tuple(values))


def _range(name: str, low: float, high: float, step: float | None, shape: str) -> Distribution:
    said = f"{name}({low!r}, {high!r})"
    given: tuple[Any, ...] = (low, high, *([] if step is None else [step]))
    for value in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{said}: {value!r} is not a number")
    if low >= high:
        raise UsageError(f"{said}: the range is empty", hint="the lower end comes first")
    if shape.startswith("log") and low <= 0:
        raise UsageError(f"{said}: a logarithmic scale begins above zero")
    if step is not None and step <= 0:
        raise UsageError(f"{said}: the step is {step!r}; it must be greater than zero")
    return Distribution("double", low, high, step, shape)


FUNCTIONS: Final[Mapping[str, Callable[..., Distribution]]] = {
    "uniform": uniform,
    "loguniform": loguniform,
    "normal": normal,
    "lognormal": lognormal,
    "integer": integer,
    "choice": choice,
}


def checked(space: Mapping[str, Any]) -> dict[str, Distribution]:
    """A dictionary of distributions; a list or tuple of values is a choice.

    Raises:
        UsageError: a name cannot be a variable's, or a value is no distribution.
    """
    found: dict[str, Distribution] = {}
    for name, value in space.items():
        if not str(name).isidentifier():
            raise UsageError(f"parameter {name!r} cannot be a variable's name")
        if isinstance(value, list | tuple):
            value = choice(*value)  # noqa: PLW2901  the same thing, made
        if not isinstance(value, Distribution):
            raise UsageError(
                f"parameter {name} is {value!r}, which is no search space",
                hint=f"use {', '.join(FUNCTIONS)} of jupyterlab_kf, or a list of values",
            )
        found[str(name)] = value
    return found


def of_text(source: str, filename: str = "cell", first_line: int = 1) -> dict[str, Distribution]:
    """The space that a program's text declares at its top level; empty when it declares none.

    Raises:
        UsageError: a call of one of the functions makes no sense; names the line.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}  # told where the code is packed, with its line
    found: dict[str, Distribution] = {}
    for name, call in _assigned(tree):
        function = _called(call)
        if not isinstance(call, ast.Call) or not function:
            continue
        where = f"{filename}, line {call.lineno + first_line - 1}"
        try:
            words = [ast.literal_eval(word) for word in call.args]
            named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            found[name] = FUNCTIONS[function](*words, **named)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}", hint=error.hint) from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: {ast.unparse(call)}: {error}", hint="write plain numbers and texts") from error
    return found


def plain_values(source: str) -> dict[str, Any]:
    """The numbers, texts and truth values that a program sets at its top level: what could be searched instead."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    found = {}
    for name, value in _assigned(tree):
        try:
            plain = ast.literal_eval(value)
        except ValueError:
            continue
        if isinstance(plain, bool | int | float | str):
            found[name] = plain
    return found


def rewritten(source: str, values: Mapping[str, Distribution | Any]) -> str:
    """The program with these at its top level: a distribution as the call that makes it, anything else as its literal.

    An assignment of that name is changed in its place; what is not assigned yet is put in front, after a docstring and
    ``from __future__`` lines. Nothing else of the text changes.

    Raises:
        UsageError: the text is no Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UsageError(f"line {error.lineno}: {error.msg}", hint="mend the code first") from None
    said = {key: one.expression() if isinstance(one, Distribution) else repr(one) for key, one in values.items()}
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # columns of the syntax tree count bytes
    changed = set()
    for name, value in reversed(list(_assigned(tree))):
        if name not in said or name in changed or value.end_lineno is None or value.end_col_offset is None:
            continue
        changed.add(name)
        first, last = value.lineno - 1, value.end_lineno - 1
        text = lines[first][: value.col_offset] + said[name].encode() + lines[last][value.end_col_offset :]
        lines[first : last + 1] = [text]
    fresh = [f"{name} = {text}\n".encode() for name, text in said.items() if name not in changed]
    at = 0
    for node in tree.body:
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        docstring = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if not (future or docstring):
            break
        at = node.end_lineno or at
    return b"".join([*lines[:at], *fresh, *lines[at:]]).decode()


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """``name = value`` at the top level, in their order."""
    for node in tree.body:
        targets: Sequence[ast.expr] = node.targets if isinstance(node, ast.Assign) else ()
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and isinstance(value, ast.expr):
            yield targets[0].id, value


def _called(value: ast.expr) -> str:
    """The distribution's function that is called; empty for anything else."""
    name = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    return name if name in FUNCTIONS else ""
