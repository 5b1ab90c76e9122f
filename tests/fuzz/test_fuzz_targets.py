"""Any bytes give a value or the documented error: a short run of every fuzz target, and what the
long ones (``make fuzz``) have found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.__main__ import TARGET_NAMES
from tests.fuzz.targets import TARGETS

CASES = Path(__file__).parent / "cases"


def damaged(seed: bytes) -> st.SearchStrategy[bytes]:
    """A well-formed input with a piece cut out and another put in."""
    places = st.integers(0, len(seed))
    return st.builds(
        lambda one, other, piece: seed[: min(one, other)] + piece + seed[max(one, other) :],
        places, places, st.binary(max_size=12),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_any_bytes_give_a_value_or_the_documented_error(name: str) -> None:
    target = TARGETS[name]
    inputs = st.one_of(st.binary(max_size=256), *map(damaged, target.seeds))

    @given(inputs)
    def feed(data: bytes) -> None:
        target.run(data)

    feed()


@pytest.mark.parametrize(
    "case", [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in CASES.glob("*/*")]
)
def test_what_the_fuzzer_found_stays_mended(case: Path) -> None:
    TARGETS[case.parent.name].run(case.read_bytes())


def test_every_target_is_run_by_the_command() -> None:
    assert set(TARGET_NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_seeds_are_what_the_parsers_take(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)
