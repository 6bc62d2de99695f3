"""Label and field selectors: read from a query or an object, and matched, as the API server does.

Pure. Owns the grammar (with the server's own words for each mistake, because clients show them) and the table of fields
that each kind can be selected by. Refuses everything the real server refuses, with 400.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver.failures import bad_request
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_NAME_PART: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_TOKEN: Final = re.compile(r"\s*(==|!=|[()!,=<>]|[^\s()!,=<>]+)")
_OPERATORS: Final = ("in", "notin", "=", "==", "!=", ">", "<")
_END: Final = ""
_NAME_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_MAX_NAME, _MAX_PREFIX = 63, 253


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector: ``operator`` is one of in, notin, exists, absent, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True when an object with these labels is selected by this term."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                number = _integer(value)
                bound = int(self.values[0])
                return number is not None and (number > bound if self.operator == "gt" else number < bound)


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One term of a field selector."""

    field: str
    equal: bool
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels and fields together: what a list or watch asks for."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldTerm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, obj: Obj) -> bool:
        """True when the object is selected."""
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            if not all(term.matches(labels) for term in self.labels):
                return False
        return all((field_value(obj, term.field) == term.value) == term.equal for term in self.fields)

    @property
    def name(self) -> str | None:
        """The one name that can match, or None when there may be several: one look-up instead of a scan."""
        return next((term.value for term in self.fields if term.equal and term.field == "metadata.name"), None)


def parse(labels: str, fields: str, kind: Kind, *, selectable: Sequence[str] = ()) -> Selector:
    """The selector of a query's two parameters; ``selectable`` are fields that a CRD adds."""
    return Selector(parse_labels(labels), parse_fields(fields, kind, selectable=selectable))


# --- labels ----------------------------------------------------------------------------------------------------------


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector as it stands in a query.

    Raises:
        InvalidError: 400, with the parser's own words.
    """
    parser = _Parser(text)
    terms: list[Requirement] = []
    while True:
        word = parser.peek()
        if word == _END:
            return tuple(terms)
        if word != "!" and not _identifier(word):
            raise bad_request(f"found '{word}', expected: !, identifier, or 'end of string'")
        terms.append(_requirement(parser))
        word = parser.take()
        if word == _END:
            return tuple(terms)
        if word != ",":
            raise bad_request(f"found '{word}', expected: ',' or 'end of string'")
        following = parser.peek()
        if following != "!" and not _identifier(following):
            raise bad_request(f"found '{following}', expected: identifier after ','")


def of_label_selector(selector: Mapping[str, Any] | None) -> tuple[Requirement, ...]:
    """The terms of a ``LabelSelector`` object (``matchLabels``, ``matchExpressions``)."""
    found = selector or {}
    terms = [Requirement(key, "in", (value,)) for key, value in (found.get("matchLabels") or {}).items()]
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    for expression in found.get("matchExpressions") or ():
        values = tuple(expression.get("values") or ())
        terms.append(Requirement(expression["key"], names[expression["operator"]], values))
    return tuple(terms)


class _Parser:
    """Tokens of a label selector, one at a time."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def take(self) -> str:
        word = self.peek()
        self._at += 1
        return word


def _identifier(word: str) -> bool:
    return word != _END and word not in {"==", "!=", "(", ")", "!", ",", "=", "<", ">"}


def _unparsed(why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")


def _requirement(parser: _Parser) -> Requirement:
    word = parser.take()
    absent = word == "!"
    if absent:
        word = parser.take()
    if not _identifier(word):
        raise _unparsed(f"found '{word}', expected: identifier")
    _check_key(word)
    if absent:
        return Requirement(word, "absent")
    if parser.peek() in (_END, ","):
        return Requirement(word, "exists")
    operator = parser.take()
    if operator not in _OPERATORS:
        raise _unparsed(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    values = _set_values(parser) if operator in ("in", "notin") else (_exact_value(parser),)
    return _checked(word, operator, values)


def _checked(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    if operator in (">", "<"):
        if _integer(values[0]) is None:
            text = f"values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, the value must be an integer"
            raise _unparsed(text)
        return Requirement(key, "gt" if operator == ">" else "lt", values)
    for at, value in enumerate(values):
        if not _VALUE.fullmatch(value) or len(value) > _MAX_NAME:
            raise _unparsed(f'values[{at}][{key}]: Invalid value: "{value}": {_bad_value(value)}')
    return Requirement(key, "notin" if operator in ("notin", "!=") else "in", values)


def _exact_value(parser: _Parser) -> str:
    if parser.peek() in (_END, ","):
        return ""
    word = parser.take()
    if not _identifier(word):
        raise _unparsed(f"found '{word}', expected: identifier")
    return word


def _set_values(parser: _Parser) -> tuple[str, ...]:
    word = parser.take()
    if word != "(":
        raise _unparsed(f"found '{word}' expected: '('")
    word = parser.peek()
    if word == ")":
        parser.take()
        return ("",)
    if word != "," and not _identifier(word):
        raise _unparsed(f"found '{word}', expected: ',', ')' or identifier")
    values: list[str] = []
    expect_value = True
    while (word := parser.take()) != ")":
        if word == ",":
            if expect_value:
                values.append("")
            expect_value = True
        elif _identifier(word) and expect_value:
            values.append(word)
            expect_value = False
        else:
            expected = "',', or identifier" if expect_value else "',' or ')'"
            raise _unparsed(f"found '{word}', expected: {expected}")
    if expect_value:
        values.append("")
    return tuple(sorted(set(values)))


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    why = ""
    if "/" in prefix:
        why = (
            f"a valid label key {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    elif slash and not prefix:
        why = "prefix part must be non-empty"
    elif slash and (not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_PREFIX):
        why = (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
            "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
            "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    elif not name:
        why = "name part must be non-empty"
    elif len(name) > _MAX_NAME:
        why = f"name part must be no more than {_MAX_NAME} bytes"
    elif not _NAME_PART.fullmatch(name):
        why = f"name part {_NAME_RULE}"
    if why:
        raise _unparsed(f'<nil>: Invalid value: "{key}": {why}')


def _bad_value(value: str) -> str:
    if len(value) > _MAX_NAME:
        return f"must be no more than {_MAX_NAME} bytes"
    return (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
        "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    )


def _integer(value: str | None) -> int | None:
    return int(value) if value is not None and re.fullmatch(r"[+-]?[0-9]+", value) else None


# --- fields ----------------------------------------------------------------------------------------------------------

_EVENT_FIELDS: Final = tuple(
    f"involvedObject.{part}"
    for part in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)
_FIELDS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "pods"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    ("", "events"): (*_EVENT_FIELDS, "reason", "reportingComponent", "source", "type"),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "namespaces"): ("status.phase",),
    ("", "secrets"): ("type",),
    ("batch", "jobs"): ("status.successful",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
}


def parse_fields(text: str, kind: Kind, *, selectable: Sequence[str] = ()) -> tuple[FieldTerm, ...]:
    """The terms of a field selector as it stands in a query.

    Raises:
        InvalidError: 400: not the grammar, or a field that this kind cannot be selected by.
    """
    terms = []
    for part in _split_terms(text):
        if not part:
            continue
        match = re.fullmatch(r"((?:[^=!\\]|\\.|!(?!=))*)(!=|==|=)(.*)", part, re.DOTALL)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        _check_field(field, kind, selectable)
        terms.append(FieldTerm(field, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return tuple(terms)


def _split_terms(text: str) -> Iterable[str]:
    return re.split(r"(?<!\\),", text)


def _check_field(field: str, kind: Kind, selectable: Sequence[str]) -> None:
    if field in ("metadata.name", "metadata.namespace"):
        return
    known = _FIELDS.get((kind.group, kind.plural), ())
    if field in known or field in selectable:
        return
    if known or kind.custom:
        raise bad_request(f"field label not supported: {field}")
    raise bad_request(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def _source(obj: Obj) -> Any:
    return (obj.get("source") or {}).get("component") or obj.get("reportingComponent")


_SPECIAL: Final[Mapping[str, Callable[[Obj], Any]]] = {
    "source": _source,
    "spec.hostNetwork": lambda obj: bool(obj.get("spec", {}).get("hostNetwork")),
    "spec.unschedulable": lambda obj: bool(obj.get("spec", {}).get("unschedulable")),
    "status.successful": lambda obj: (obj.get("status") or {}).get("succeeded") or 0,
}


def field_value(obj: Obj, field: str) -> str:
    """The text that a field selector compares; a field that is not there is empty."""
    special = _SPECIAL.get(field)
    if special is not None:
        return _text(special(obj))
    value: Any = obj
    for part in field.lstrip(".").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
