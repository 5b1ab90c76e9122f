"""Names from peers must not reach a terminal, a log or a question with anything hidden in them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.errors import ProtocolError
from p2p.limits import MAX_NAME_CELLS
from p2p.text import cell_width, clean_text

FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x9b\x07\n\r\t\0\u202e\u2066\u200b\u2028\ufeff\ud800\u3164\u0301a "),
    )
)


@given(HOSTILE, st.integers(1, 80))
@example("a\x1b]0;title\x07b", 32)
@example("\u202ereversed", 32)
@example("e\u200b\u0301", 32)
def test_nothing_that_controls_survives(text: str, limit: int) -> None:
    try:
        clean = clean_text(text, limit)
    except ProtocolError:
        return
    assert 1 <= len(clean) <= limit
    assert not {unicodedata.category(c) for c in clean} & FORBIDDEN_CATEGORIES
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == " ".join(clean.split())
    assert clean_text(clean, limit) == clean


@given(HOSTILE)
def test_a_name_fits_its_column(text: str) -> None:
    try:
        assert cell_width(clean_text(text)) <= MAX_NAME_CELLS
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada's laptop", "Ada's laptop"),
        ("  two   blanks\n", "two blanks"),
        ("line\nbreak", "line break"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("abc\u202edef", "abcdef"),
        ("e\u0301", "\u00e9"),
        ("日本語" * 20, "日本語" * 6 + "日本"),
        ("x" * 100, "x" * 32),
        ("a" + "\u0335" * 30 + "b", "a\u0335\u0335b"),
        ("[@click=app.quit]x[/]", "[@click=app.quit]x[/]"),
    ],
)
def test_what_becomes_of_a_name(text: str, expected: str) -> None:
    assert clean_text(text) == expected


@pytest.mark.parametrize(
    "text", ["", "   ", "\x00\x1b", "\u202e\u2066", "\u3164", "\u2800", "\u0301"]
)
def test_a_name_that_nobody_can_see_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        clean_text(text)


def test_a_megabyte_of_dropped_characters_costs_little() -> None:
    with pytest.raises(ProtocolError):
        clean_text("\u200b" * (1 << 20))
