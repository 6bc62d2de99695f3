"""The syntax of names, labels and keys, with the sentences that a real API server refuses them with.

Each function answers why a text is wrong: a list of sentences, empty when it is right. Which rule applies to which
field is decided by the callers.
"""

from __future__ import annotations

import re
from typing import Final

_LABEL_PATTERN: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_PATTERN: Final = rf"{_LABEL_PATTERN}(\.{_LABEL_PATTERN})*"
_QUALIFIED_PATTERN: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE_PATTERN: Final = f"({_QUALIFIED_PATTERN})?"
_KEY_PATTERN: Final = "[-._a-zA-Z0-9]+"

_LABEL: Final = re.compile(_LABEL_PATTERN)
_SUBDOMAIN: Final = re.compile(_SUBDOMAIN_PATTERN)
_QUALIFIED: Final = re.compile(_QUALIFIED_PATTERN)
_VALUE: Final = re.compile(_VALUE_PATTERN)
_KEY: Final = re.compile(_KEY_PATTERN)

MAX_LABEL: Final = 63
MAX_SUBDOMAIN: Final = 253
MAX_PORT_NAME: Final = 15
MAX_PORT: Final = 65535

_SUBDOMAIN_SENTENCE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN_PATTERN}')"
)
_LABEL_SENTENCE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL_PATTERN}')"
)
_QUALIFIED_SENTENCE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED_PATTERN}')"
)
_VALUE_SENTENCE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE_PATTERN}')"
)
_KEY_SENTENCE: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    f"or 'key-name', regex used for validation is '{_KEY_PATTERN}')"
)


def too_long(limit: int) -> str:
    """What is said of a text beyond its limit."""
    return f"must be no more than {limit} characters"


def subdomain(text: str) -> list[str]:
    """An RFC 1123 subdomain: the name of most objects."""
    out = [too_long(MAX_SUBDOMAIN)] if len(text) > MAX_SUBDOMAIN else []
    return out if _SUBDOMAIN.fullmatch(text) else [*out, _SUBDOMAIN_SENTENCE]


def label(text: str) -> list[str]:
    """An RFC 1123 label: the name of a container, a namespace, a service."""
    out = [too_long(MAX_LABEL)] if len(text) > MAX_LABEL else []
    return out if _LABEL.fullmatch(text) else [*out, _LABEL_SENTENCE]


def qualified(text: str) -> list[str]:
    """A label's or annotation's key: ``name`` or ``prefix/name``."""
    prefix, slash, name = text.rpartition("/")
    out: list[str] = []
    if "/" in prefix:
        sentence = _QUALIFIED_SENTENCE.removeprefix("must ")
        prefixed = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key must {sentence} {prefixed}"]
    if slash:
        if not prefix:
            out.append("prefix part must be non-empty")
        else:
            out += [f"prefix part {reason}" for reason in subdomain(prefix)]
    if not name:
        out.append("name part must be non-empty")
    elif len(name) > MAX_LABEL:
        out.append(f"name part {too_long(MAX_LABEL)}")
    if not _QUALIFIED.fullmatch(name):
        out.append(f"name part {_QUALIFIED_SENTENCE}")
    return out


def label_value(text: str) -> list[str]:
    """A label's value; may be empty."""
    out = [too_long(MAX_LABEL)] if len(text) > MAX_LABEL else []
    return out if _VALUE.fullmatch(text) else [*out, _VALUE_SENTENCE]


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file name."""
    if len(text) > MAX_SUBDOMAIN:
        return [too_long(MAX_SUBDOMAIN)]
    if not _KEY.fullmatch(text):
        return [_KEY_SENTENCE]
    if text == ".":
        return ["must not be '.'"]
    if text == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if text.startswith("..") else []


def env_name(text: str) -> list[str]:
    """The name of an environment variable; since 1.34 any printable ASCII but ``=``."""
    if all(" " <= char <= "~" and char != "=" for char in text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(text: str) -> list[str]:
    """An IANA service name: the name of a port."""
    out = []
    if len(text) > MAX_PORT_NAME:
        out.append(too_long(MAX_PORT_NAME))
    if not re.fullmatch("[-a-z0-9]*", text):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        out.append("must contain at least one letter (a-z)")
    if "--" in text:
        out.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        out.append("must not begin or end with a hyphen")
    return out
