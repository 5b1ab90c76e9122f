"""``fedtui room``, as one types it, on a machine where no node runs."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st
from member_rig import identity

from fedtui.cli.app import run
from fedtui.cli.output import QR_ERROR_CORRECTION
from fedtui.entering import read_invite
from fedtui.errors import UsageError
from p2p.addresses import Address
from p2p.joining.code import SpokenCode
from p2p.joining.link import InviteLink, parse_link

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDTUI_HOST", "127.0.0.1")
    monkeypatch.setenv("FEDTUI_INTERFACES", "127.0.0.1")
    return tmp_path / "home"


def said(capsys: Capture, *arguments: str, code: int = 0) -> str:
    assert run(["room", *arguments]) == code
    return capsys.readouterr().out


def told(capsys: Capture, *arguments: str) -> Any:
    return json.loads(said(capsys, *arguments, "--json"))


def test_a_room_is_made_listed_left_and_invited_to_without_a_node(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    made = told(capsys, "create", "Attic", "--as", "Ada", "--rounds", "2", "--uses", "5")
    link = parse_link(made["invite"]["text"])
    assert (link.room, link.head, link.uses) == (made["room"], made["room"], 5)
    assert [str(address) for address in link.addresses] == made["invite"]["addresses"]
    (listed,) = told(capsys, "list")
    assert (listed["name"], listed["active"]) == ("Attic", True)

    code, again = told(capsys, "invite", "--code"), told(capsys, "invite", "--expires", "2h")
    assert parse_link(again["text"]).addresses == link.addresses
    assert told(capsys, "revoke", code["text"].split("-")[0])["revoked"] == [code["id"]]
    states = [invite["state"] for invite in told(capsys, "invites")]
    assert states == ["open", "revoked", "open"]

    file = tmp_path / "invite.txt"
    said(capsys, "invite", "--out", str(file))
    assert file.stat().st_mode & 0o077 == 0
    assert isinstance(read_invite(str(file)), InviteLink)
    assert told(capsys, "join", str(file))["was_member"]

    agreed = told(capsys, "plan")
    values = {term["name"]: term["value"] for term in agreed["terms"]}
    assert (values["rounds"], values["begin"]) == ("2", "by themselves")
    assert values["signatures"] == "1 of 1 admin"
    assert "  rounds             2  (of the room's whole life)\n" in said(capsys, "plan")

    assert told(capsys, "leave")["told"] is False
    assert not told(capsys, "list")[0]["active"]
    said(capsys, "invites", code=2)
    said(capsys, "use", "attic")
    assert told(capsys, "list")[0]["active"]
    assert [event["event"] for event in told(capsys, "history")] == ["created"]


@pytest.mark.parametrize("expires", ["400d", "-5m", "nans"])
def test_a_room_whose_invite_cannot_be_is_not_made(
    home: Path, capsys: Capture, expires: str
) -> None:
    assert run(["room", "create", "Attic", f"--expires={expires}"]) == 2
    assert "90s, 10m, 2h or 1d" in capsys.readouterr().err
    assert told(capsys, "list") == []


def test_an_invite_that_nobody_could_be_given_is_withdrawn(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    said(capsys, "create", "Attic")
    said(capsys, "invite", "--out", str(tmp_path), code=2)
    assert [invite["state"] for invite in told(capsys, "invites")] == ["open", "revoked"]


def test_an_invite_can_come_from_stdin(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = told(capsys, "create", "Attic")["invite"]["text"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{link}\n"))
    assert told(capsys, "join", "-")["was_member"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["members"], 2),
        (["use", "nothing"], 2),
        (["join", "hello"], 2),
        (["join", "fedtui:AAAA"], 2),
        (["join", "7-river-candle-bronze"], 2),
        (["join", "7-river-candy-bronze", "--at", "nowhere"], 2),
        (["join", "7-river-candy-bronze", "--at", "127.0.0.1:1"], 3),
        (["create", "x", "--algorithm", "nonsense"], 2),
        (["create", "\u202e"], 2),
        (["create", "x", "--expires", "soon"], 2),
        (["create", "x", "--quorum", "all"], 2),
        (["create", "x", "--prompt", "x" * 301], 2),
        (["create", "x", "--keep-tags", "65"], 2),
        (["create", "x", "--trigger", "x" * 101], 2),
        (["create", "x", "--late", "carry"], 2),
    ],
)
def test_what_cannot_be_done_has_its_exit_code_and_no_traceback(
    home: Path, capsys: Capture, arguments: list[str], code: int
) -> None:
    assert run(["room", *arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert "pydantic" not in shown.err
    assert shown.err


def test_a_link_as_a_picture_fits_a_terminal_of_eighty_columns() -> None:
    link = InviteLink(
        room="ab" * 32,
        inviter=identity(1).peer_id,
        secret=bytes(16),
        addresses=(Address("192.168.100.100", 47778), Address("fd00:1:2:3:4:5:6:7", 47778)),
        expires_ms=1 << 41,
        uses=30,
        head_round=3,
        head="cd" * 32,
    )
    picture = segno.make(str(link), error=QR_ERROR_CORRECTION, boost_error=False)
    assert picture.symbol_size()[0] <= 80


@given(st.text(max_size=200))
def test_any_text_is_an_invite_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(read_invite(text), InviteLink | SpokenCode)
