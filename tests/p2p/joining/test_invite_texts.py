"""Links and codes as people pass them on: exact, or refused with words."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_rig import identity

from p2p.addresses import Address
from p2p.envelope import encode_base64
from p2p.errors import ProtocolError
from p2p.joining.code import MAX_NAMEPLATE, SpokenCode, parse_code
from p2p.joining.link import SCHEME, InviteLink, _check, parse_link
from p2p.joining.words import fingerprint_hex, fingerprint_words, read_word, words


def _of_one_machine(ip: IPv4Address | IPv6Address) -> bool:
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return not (ip.is_multicast or ip.is_unspecified)


ADDRESSES = st.builds(
    Address.checked,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(_of_one_machine).map(str),
    st.integers(1, 65_535),
)
LINKS = st.builds(
    InviteLink,
    room=st.binary(min_size=32, max_size=32).map(bytes.hex),
    inviter=st.integers(1, 9).map(lambda n: identity(n).peer_id),
    secret=st.binary(min_size=16, max_size=16),
    addresses=st.lists(ADDRESSES, max_size=8).map(tuple),
    expires_ms=st.integers(0, 1 << 53),
    uses=st.integers(0, 65_535),
    head_round=st.integers(0, 100_000),
    head=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


def link(**changes: Any) -> InviteLink:
    values: dict[str, Any] = {
        "room": "ab" * 32,
        "inviter": identity(1).peer_id,
        "secret": bytes(range(16)),
        "addresses": (Address("10.0.0.7", 47778), Address("fd00::7", 47778)),
        "expires_ms": 1_800_000_000_000,
        "uses": 30,
        "head_round": 3,
        "head": "cd" * 32,
    }
    return InviteLink(**{**values, **changes})


@given(LINKS)
def test_a_link_is_read_as_it_was_written(link: InviteLink) -> None:
    assert parse_link(str(link)) == link


def test_the_bytes_of_a_link_stay_what_they_are() -> None:
    assert str(link()) == (
        "fedtui:Aaurq6urq6urq6urq6urq6urq6urq6urq6urq6urq6uriojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SI"
        "AbQPb1wAAQIDBAUGBwgJCgsMDQ4PAAAAA83Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3NAAABoxhcUAAA"
        "HgIECgAAB7qiBv0AAAAAAAAAAAAAAAAAAAe6ohuyLaI"
    )


def test_a_link_is_one_word_for_a_shell_and_fits_a_terminal_as_a_picture() -> None:
    text = str(link())
    assert not set(text) & set(" \t\n&?;|<>$`\\\"'()*!#~[]{}")
    assert len(text) < 260


def test_blanks_and_line_breaks_of_a_chat_program_do_no_harm() -> None:
    text = str(link())
    assert parse_link(f"  {text[:40]}\n{text[40:90]} \r\n {text[90:]}\n") == link()


@given(st.data())
def test_a_tampered_or_cut_link_is_noticed_before_anybody_is_called(data: st.DataObject) -> None:
    text = str(link())
    at = data.draw(st.integers(len(SCHEME), len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda c: c != text[at]))
    for changed in (text[:at] + other + text[at + 1 :], text[:at]):
        with pytest.raises(ProtocolError):
            parse_link(changed)


@given(st.one_of(st.text(max_size=400), st.text(max_size=300).map(lambda t: SCHEME + t)))
def test_any_text_as_a_link_gives_an_invite_or_a_clear_error(text: str) -> None:
    with suppress(ProtocolError):
        assert isinstance(parse_link(text), InviteLink)


@given(st.binary(max_size=300))
def test_any_bytes_behind_a_right_checksum_give_an_invite_or_a_clear_error(body: bytes) -> None:
    body = b"\x01" + body
    with suppress(ProtocolError):
        assert isinstance(parse_link(SCHEME + encode_base64(body + _check(body))), InviteLink)


def test_a_link_of_a_newer_version_says_update() -> None:
    with pytest.raises(ProtocolError, match="another version") as caught:
        parse_link(SCHEME + encode_base64(b"\2later" + _check(b"\2later")))
    assert "Update" in caught.value.remedy


def test_a_damaged_first_character_is_no_newer_version() -> None:
    text = str(link())
    with pytest.raises(ProtocolError, match="damaged"):
        parse_link(SCHEME + "B" + text[len(SCHEME) + 1 :])
    with pytest.raises(ProtocolError, match="damaged"):
        parse_link("fedtui:abc")


def test_a_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(link())
    assert "candy" not in repr(parse_code("7-river-candy-bronze"))


# --- codes ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "7-river-candy-bronze",
        "7 River candy BRONZE",
        " 7-rive-cand-bron ",
        "7_river.candy,bronze",
    ],
)
def test_a_code_is_read_as_people_write_it(text: str) -> None:
    assert str(parse_code(text)) == "7-river-candy-bronze"


@given(st.integers(1, MAX_NAMEPLATE))
def test_a_random_code_is_read_as_it_was_made(nameplate: int) -> None:
    code = SpokenCode.random(nameplate)
    assert parse_code(str(code)) == code


def test_a_misspelt_word_names_the_nearest() -> None:
    with pytest.raises(ProtocolError, match="did you mean 'bronze'"):
        parse_code("7-river-candy-bornze")


@pytest.mark.parametrize(
    "text", ["", "7", "river-candy-bronze", "0-river-candy-bronze", "1000-river-candy-bronze",
             "7-river-candy", "7-river-candy-bronze-bronze", "٧-river-candy-bronze", "7-a-b-c"]
)  # fmt: skip
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_code(text)


@given(st.text(max_size=120))
def test_any_text_as_a_code_gives_a_code_or_a_clear_error(text: str) -> None:
    with suppress(ProtocolError):
        assert isinstance(parse_code(text), SpokenCode)


# --- words ------------------------------------------------------------------------------------
def test_four_letters_tell_every_word_apart() -> None:
    assert len({word[:4] for word in words()}) == len(words()) == 2048
    assert all(read_word(word) == word for word in words())


def test_fingerprints_are_words_and_digits_of_the_key() -> None:
    ada, grace = identity(1).peer_id, identity(2).peer_id
    assert len(fingerprint_words(ada)) == 6
    assert fingerprint_words(ada) != fingerprint_words(grace)
    assert len(fingerprint_hex(ada).split()) == 4
