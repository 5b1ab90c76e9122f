"""Whom a profile knows: remembered for good, and loud when a name changes hands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_rig import identity

from fedtui.trust import TrustBook

ADA, GRACE = identity(1).peer_id, identity(2).peer_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trust.jsonl"


def test_a_mark_holds_until_it_is_taken_back_and_survives_a_restart(path: Path) -> None:
    TrustBook(path).note("verified", ADA, "Ada")
    assert TrustBook(path).verified(ADA)
    assert not TrustBook(path).verified(GRACE)
    TrustBook(path).note("unverified", ADA, "Ada")
    assert not TrustBook(path).verified(ADA)


def test_the_mark_belongs_to_the_key_and_not_to_the_name(path: Path) -> None:
    book = TrustBook(path)
    book.note("verified", ADA, "Ada")
    book.note("added", GRACE, "Ada")
    assert not book.verified(GRACE)


@pytest.mark.parametrize("name", ["Ada", "ADA", " a d a ", "Ädá", "Ａｄａ", "ada."])
def test_a_known_name_with_another_key_is_noticed_however_it_is_written(
    path: Path, name: str
) -> None:
    book = TrustBook(path)
    book.note("admitted", ADA, "Ada")
    assert book.namesake(name, GRACE) == ADA
    assert book.namesake(name, ADA) is None


def test_another_name_and_a_name_that_was_only_asked_for_are_no_alarm(path: Path) -> None:
    book = TrustBook(path)
    book.note("asked", ADA, "Ada")
    book.note("declined", ADA, "Ada")
    book.note("admitted", ADA, "Adele")
    assert book.namesake("Ada", GRACE) is None
    assert book.namesake("…", GRACE) is None


def test_who_is_known_under_a_name_is_not_told_twice(path: Path) -> None:
    book = TrustBook(path)
    assert not book.knows(ADA, "Ada")
    book.note("added", ADA, "Ada")
    assert book.knows(ADA, "Ada")
    assert not book.knows(ADA, "Adele")


def test_a_torn_last_line_loses_nothing_else(path: Path) -> None:
    book = TrustBook(path)
    book.note("admitted", ADA, "Ada")
    book.note("admitted", GRACE, "Grace")
    path.write_bytes(path.read_bytes()[:-20])
    assert [event.peer for event in TrustBook(path).history()] == [ADA]
    TrustBook(path).note("declined", GRACE, "Grace")
    assert [event.event for event in TrustBook(path).history()] == ["admitted", "declined"]


@given(st.binary(max_size=200))
def test_any_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("trust") / "trust.jsonl"
    path.write_bytes(data)
    assert len(TrustBook(path).history()) <= 200


def test_only_the_owner_can_read_it(path: Path) -> None:
    TrustBook(path).note("admitted", ADA, "Ada")
    assert path.stat().st_mode & 0o077 == 0
