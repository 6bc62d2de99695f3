"""Selectors: the grammar, its mistakes, and what matches."""

from __future__ import annotations

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import selectors
from jupyterlab_kf.errors import InvalidError
from jupyterlab_kf.model import Obj


def obj(**labels: str) -> Obj:
    return {"metadata": {"name": "x", "namespace": "n", "labels": labels}}


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("l=1", {"l": "1"}, True),
        ("l==1", {"l": "2"}, False),
        ("l!=1", {}, True),
        ("l!=1", {"l": "1"}, False),
        ("n in (1,2)", {"n": "2"}, True),
        ("n in (1,2)", {}, False),
        ("n notin (1,2)", {}, True),
        ("n notin (1, 2)", {"n": "1"}, False),
        ("n", {"n": ""}, True),
        ("!n", {"n": ""}, False),
        ("n>1", {"n": "2"}, True),
        ("n>1", {"n": "x"}, False),
        ("n<2", {"n": "1"}, True),
        ("l=1,n in (3)", {"l": "1", "n": "3"}, True),
        ("n=", {"n": ""}, True),
        ("n=", {}, False),
        ("n in ()", {"n": ""}, True),
        ("a.b/c-d=e_f.g", {"a.b/c-d": "e_f.g"}, True),
        ("in=notin", {"in": "notin"}, True),
    ],
)
def test_labels(text: str, labels: dict[str, str], *, expected: bool) -> None:
    assert selectors.parse(text, "", kinds.POD).matches(obj(**labels)) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("x=aaa bbb", "found 'bbb', expected: ',' or 'end of string'"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ],
)
def test_label_mistakes(text: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        selectors.parse_labels(text)
    assert (caught.value.code, caught.value.reason, caught.value.message) == (400, "BadRequest", message)


def test_a_bad_label_key_is_named() -> None:
    with pytest.raises(InvalidError, match='<nil>: Invalid value: "a/b/c": a valid label key must'):
        selectors.parse_labels("a/b/c=1")


def test_label_selector_object() -> None:
    terms = selectors.of_label_selector(
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["2"]}]}
    )
    assert selectors.Selector(terms).matches(obj(a="1"))
    assert not selectors.Selector(terms).matches(obj(a="1", b="2"))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (kinds.POD, "metadata.name=x,metadata.name=x", True),
        (kinds.POD, "metadata.name!=x", False),
        (kinds.POD, "status.phase!=Running", True),
        (kinds.POD, "status.phase==Running", False),
        (kinds.POD, "spec.hostNetwork=false", True),
        (kinds.POD, "", True),
        (kinds.EVENT, "involvedObject.kind=Pod", False),
        (kinds.JOB, "status.successful=0", True),
        (kinds.TF_JOB, "metadata.namespace=n", True),
    ],
)
def test_fields(kind: kinds.Kind, text: str, *, expected: bool) -> None:
    assert selectors.parse("", text, kind).matches(obj()) is expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (kinds.POD, "metadata.uid=1", "field label not supported: metadata.uid"),
        (kinds.TF_JOB, "status.phase=x", "field label not supported: status.phase"),
        (
            kinds.CONFIG_MAP,
            "data.a=b",
            '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            kinds.CONFIG_MAP,
            "metadata.name in (l1)",
            "invalid selector: 'metadata.name in (l1)'; can't understand 'metadata.name in (l1)'",
        ),
    ],
)
def test_field_mistakes(kind: kinds.Kind, text: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        selectors.parse_fields(text, kind)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_fields_that_a_definition_adds() -> None:
    terms = selectors.parse_fields("spec.color=red", kinds.TF_JOB, selectable=("spec.color",))
    assert selectors.Selector(fields=terms).matches({"metadata": {}, "spec": {"color": "red"}})


def test_the_one_name() -> None:
    assert selectors.parse("", "metadata.name=x", kinds.POD).name == "x"
    assert selectors.parse("", "metadata.name!=x", kinds.POD).name is None
