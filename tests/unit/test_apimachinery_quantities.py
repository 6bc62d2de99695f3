from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value", "canonical"),
    [
        ("1", "1", "1"),
        ("0", "0", "0"),
        ("0.5", "0.5", "500m"),
        ("500m", "0.5", "500m"),
        ("1000m", "1", "1"),
        ("1500m", "1.5", "1500m"),
        ("2k", "2000", "2k"),
        ("1Gi", "1073741824", "1Gi"),
        ("1024Mi", "1073741824", "1Gi"),
        ("1.5Gi", "1610612736", "1536Mi"),
        ("512Ki", "524288", "512Ki"),
        ("0.5Ki", "512", "512"),
        ("1e3", "1000", "1e3"),
        ("12E2", "1200", "1200"),
        ("1E", "1000000000000000000", "1E"),
        ("100n", "0.0000001", "100n"),
        ("0.1n", "1e-10", "1n"),
        ("-2", "-2", "-2"),
        (".5", "0.5", "500m"),
        ("10000000k", "10000000000", "10G"),
    ],
)
def test_quantity(text: str, value: str, canonical: str) -> None:
    assert quantities.parse(text) == Decimal(value)
    assert quantities.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "Gi", "1.2.3", "--1", "1KiB", "1e", "0x1", True])
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(UsageError, match="quantities must match the regular expression"):
        quantities.parse(text)


def test_people_units() -> None:
    assert quantities.format_bytes(16 * 2**30) == "16Gi"
    assert quantities.format_bytes(1000) == "1000"
    assert quantities.format_cpu(0.5) == "500m"
    assert quantities.format_cpu(Decimal(4)) == "4"


NUMBERS = st.integers(-(10**6), 10**6)
SUFFIXES = st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "u", "n"])


@given(NUMBERS, SUFFIXES)
def test_canonical_keeps_the_value_and_is_stable(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    once = quantities.canonical(text)
    assert quantities.parse(once) == quantities.parse(text)
    assert quantities.canonical(once) == once


@given(NUMBERS, NUMBERS, SUFFIXES)
def test_order_is_that_of_the_numbers(a: int, b: int, suffix: str) -> None:
    assert (quantities.parse(f"{a}{suffix}") < quantities.parse(f"{b}{suffix}")) == (a < b)
