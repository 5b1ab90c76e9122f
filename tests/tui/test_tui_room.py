"""The room: who waits, who belongs, whom to believe; and the doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tui_driver import shown, text, until
from tui_scenarios import NAMES, ScriptedSource, examined, identity, training

from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.room import InviteScreen
from fedtui.tui.widgets.qr import QR
from fedtui.view import EvidenceView, NodeView, RequestView

WORDS = ("river", "candy", "bronze", "apple", "moon", "chair")
LINK = {
    "text": "fedtui:" + "Ab3" * 40,
    "kind": "link",
    "uses": 32,
    "expires": 1_800_000_000.0,
    "auto_approve": False,
}


def asked(view: NodeView, namesake: str = "") -> NodeView:
    request = RequestView(
        "r1", identity(9), "mallory [b]", "participant", WORDS, "3f9a c21e", "192.168.1.9", "x",
        42.0, namesake,
    )  # fmt: skip
    return replace(view, requests=(request,))


def with_members(source: ScriptedSource, count: int = 4) -> None:
    members = [
        {
            "peer": identity(i),
            "name": NAMES[i],
            "role": "admin" if i == 0 else "participant",
            "me": i == 0,
            "verified": i == 2,
            "fingerprint": "3f9a c21e 77c0 0e5d",
            "words": list(WORDS),
        }
        for i in range(count)
    ]
    source.answers |= {
        "members": {"members": members},
        "invite": LINK,
        "answer": {"peer": "p", "name": "mallory", "approved": True},
        "verify": {"peer": "p", "name": "amir-mbp", "verified": True},
        "remove": {"peer": "p", "name": "amir-mbp", "state": "removed"},
        "trust_history": {
            "events": [{"ts": 1.0, "event": "impostor", "name": "tomoko", "peer": "p"}]
        },
    }


def last(source: ScriptedSource, operation: str) -> dict[str, Any]:
    return [arguments for name, arguments in source.done if name == operation][-1]


async def test_members_are_shown_with_what_is_compared_and_can_be_verified(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        assert "river candy bronze apple moon chair" in text(app)
        assert "Read these words aloud" in text(app)
        await pilot.press("j")
        await until(pilot, lambda: "Compare these six words" in text(app))
        await pilot.press("v")
        await until(pilot, lambda: "is marked as verified" in text(app))
        assert last(source, "verify") == {"peer": identity(1), "verified": True}
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == "3f9a c21e 77c0 0e5d"


async def test_a_newcomer_is_shown_first_and_let_in_or_sent_away(folder: Path) -> None:
    async with shown(asked(training(folder))) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "at the door" in text(app))
        assert "mallory [b] asks to be let in" in text(app)
        await pilot.press("a")
        await until(pilot, lambda: "is let in" in text(app))
        assert last(source, "answer") == {"id": "r1", "approve": True}
        await pilot.press("x")
        await until(pilot, lambda: last(source, "answer")["approve"] is False)


async def test_nobody_is_let_in_unseen(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        source.now = asked(view)
        await until(pilot, lambda: "at the door" in text(app))
        await pilot.press("a")
        await until(pilot, lambda: "Compare the six words, then" in text(app))
        assert not [name for name, _ in source.done if name == "answer"]
        assert "mallory [b] asks to be let in" in text(app)
        await pilot.press("a")
        await until(pilot, lambda: last(source, "answer") == {"id": "r1", "approve": True})


async def test_a_known_name_with_another_key_is_let_in_only_after_a_question(folder: Path) -> None:
    async with shown(asked(training(folder), identity(1))) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "Careful" in text(app))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("enter")
        await pilot.pause()
        assert not [name for name, _ in source.done if name == "answer"]
        await pilot.press("a", "right", "enter")
        await until(pilot, lambda: "is let in" in text(app))


async def test_removing_a_member_asks_first(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("X")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmScreen), "not oneself"
        await pilot.press("j", "X")
        await until(pilot, lambda: "Remove amir-mbp from the room?" in text(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "amir-mbp: removed" in text(app))


async def test_an_invite_is_shown_as_text_and_as_a_picture_where_it_fits(folder: Path) -> None:
    for size, fits in (((120, 50), True), ((80, 24), False)):
        async with shown(training(folder), size) as (pilot, app, source):
            with_members(source, 1)
            await pilot.press("8")
            await until(pilot, lambda: "You are alone" in " ".join(text(app).split()))
            await pilot.press("i")
            await until(pilot, lambda: isinstance(app.screen, InviteScreen))
            await pilot.pause()
            assert bool(app.screen.query(QR)) is fits
            assert "32 machines" in text(app)
            await pilot.press("y")
            await pilot.pause()
            assert app.clipboard == f"fedtui room join {LINK['text']}"
            await pilot.press("escape", "I")
            await until(pilot, lambda: last(source, "invite") == {"code": True})


async def test_trust_shows_what_happened(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8", "t")
        await until(pilot, lambda: "impostor tomoko" in text(app))


async def test_evidence_is_shown_with_the_member(folder: Path) -> None:
    view = replace(training(folder), evidence=(EvidenceView(2, identity(1), "two votes"),))
    async with shown(view) as (pilot, app, _source):
        await pilot.press("2", "j")
        await until(pilot, lambda: "round 2: two votes" in text(app))


async def test_the_doctor_says_what_to_do_and_gives_a_report(folder: Path) -> None:
    async with shown(training(folder), examine=examined) as (pilot, app, _source):
        await pilot.press("D")
        await until(pilot, lambda: "1 to look at" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "Allow UDP 5353 in the firewall." in text(app))
        await pilot.press("r", "y")
        await until(pilot, lambda: "1 to look at" in text(app))
        await pilot.press("y")
        await pilot.pause()
        assert "failed   mdns" in app.clipboard
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("f12")
        await until(pilot, lambda: "no machine to look at" in text(app))
