"""The room: who waits, who belongs, whom to believe; and the doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets._toast import Toast
from tui_driver import shown, text, until
from tui_scenarios import NAMES, ScriptedSource, examined, identity, training

from fedtui.errors import FedtuiError
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.invite import InviteScreen
from fedtui.tui.screens.plan import PlanScreen
from fedtui.tui.screens.rights import RightsScreen, ThresholdScreen
from fedtui.tui.screens.room import RoomScreen
from fedtui.tui.widgets.qr import QR
from fedtui.tui.widgets.table import Table
from fedtui.view import ChangeView, EvidenceView, NodeView, RequestView

WORDS = ("river", "candy", "bronze", "apple", "moon", "chair")
LINK = {
    "text": "fedtui:" + "Ab3" * 40,
    "kind": "link",
    "uses": 32,
    "expires": 1_800_000_000.0,
    "auto_approve": False,
}


TERMS = [
    {"group": "Rounds", "name": "rounds", "value": "8", "meaning": "of its life", "change": ""},
    {
        "group": "Members",
        "name": "signatures",
        "value": "1 of 2 admins",
        "meaning": "who comes",
        "change": "fedtui room threshold",
    },
    {"group": "Members", "name": "x", "value": "[b]y[/b]\x1b[31m", "meaning": "", "change": ""},
]


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
            "may": ["contribute", "see previews"],
            "fingerprint": "3f9a c21e 77c0 0e5d",
            "words": list(WORDS),
        }
        for i in range(count)
    ]
    source.answers |= {
        "members": {"members": members, "folder": "/home/lena/rooms/q7m2"},
        "plan": {"name": "sunflower-42", "room": "q7", "terms": TERMS},
        "leave": {
            "name": "sunflower-42",
            "room": "q7",
            "told": True,
            "folder": "/home/lena/rooms/q7m2",
        },
        "invite": LINK,
        "answer": {"peer": "p", "name": "mallory", "approved": True},
        "verify": {"peer": "p", "name": "amir-mbp", "verified": True},
        "remove": {"peer": "p", "name": "amir-mbp", "state": "removed"},
        "permit": {"name": "amir-mbp", "role": "participant", "may": [], "needs_others": False},
        "promote": {"admins": ["a", "b"], "needs_others": False},
        "threshold": {"threshold": 1, "needs_others": False},
        "endorse": {"text": "make tomoko an admin", "missing": 0},
        "start_rounds": {"through": 3, "round": 3},
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
        await until(pilot, lambda: "amir-mbp is no member any more" in text(app))


async def test_leaving_asks_first_says_what_stays_and_ends_the_window(folder: Path) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("L")
        await until(pilot, lambda: "Leave sunflower-42?" in text(app))
        assert "/home/lena/rooms/q7m2" in text(app)
        assert "takes a new invite" in text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "leave" not in {name for name, _ in source.done}, "No has the focus"
        await pilot.press("L", "right", "enter")
        await until(pilot, lambda: not app.is_running)
        assert last(source, "leave") == {}
        assert "has left sunflower-42" in app.farewell
        assert "/home/lena/rooms/q7m2" in app.farewell


async def test_a_room_that_cannot_be_left_says_why_and_asks_again(
    folder: Path,
) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        with_members(source)
        source.answers["leave"] = FedtuiError(
            "the last admin cannot leave", "nobody could admit members", "promote another first"
        )
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("L", "right", "enter")
        await until(pilot, lambda: "promote another first" in text(app))
        await until(pilot, lambda: "Leave without telling the others?" in text(app))
        await pilot.press("enter")
        await pilot.pause()
        assert app.is_running
        assert not app.farewell
        assert [asked for name, asked in source.done if name == "leave"] == [{}]
        await pilot.press("L", "right", "enter")
        await until(pilot, lambda: "Leave without telling the others?" in text(app))
        source.answers["leave"] = {"name": "x", "room": "q7", "told": False, "folder": "/rooms/q7"}
        await pilot.press("right", "enter")
        await until(pilot, lambda: not app.is_running)
        assert last(source, "leave") == {"anyway": True}
        assert "The others have not been told." in app.farewell


async def test_leaving_a_demo_is_not_offered(folder: Path) -> None:
    async with shown(training(folder), owns_room=True) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("L")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmScreen)
        assert app.is_running


async def test_the_plan_is_told_whole_with_what_can_be_changed(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await until(pilot, lambda: "of its life" in text(app))
        assert "What sunflower-42 agreed on" in text(app)
        assert "A changes it" in text(app)
        assert "[b]y[/b]" in text(app)
        assert "\x1b[31m" not in text(app)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, RoomScreen))


async def test_rights_are_changed_by_boxes_and_only_what_differs_is_asked_for(
    folder: Path,
) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "contribute, see previews" in text(app))
        await pilot.press("m")
        await until(pilot, lambda: "What may amir-mbp do?" in text(app))
        await pilot.press("escape", "m")
        await until(pilot, lambda: "What may amir-mbp do?" in text(app))
        await pilot.press("space", "j", "space", "j", "j", "j", "enter")
        await until(pilot, lambda: "may only watch" in text(app))
        asked = [arguments for name, arguments in source.done if name == "permit"]
        assert asked == [{"peer": identity(1), "contribute": False, "start_rounds": True}]


async def test_an_observer_who_may_contribute_becomes_a_participant(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        watching = source.answers["members"]["members"][1]
        watching |= {"role": "observer", "may": []}
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("j", "m")
        await until(pilot, lambda: isinstance(app.screen, RightsScreen))
        await pilot.press("space", *["j"] * 4, "enter")
        await until(pilot, lambda: "permit" in dict(source.done))
        assert last(source, "permit") == {
            "peer": identity(1),
            "contribute": True,
            "role": "participant",
        }


async def test_admins_are_made_after_a_question_and_agree_by_number(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("j", "M")
        await until(pilot, lambda: "Make an admin of amir-mbp?" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        assert "promote" not in dict(source.done)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "The room has 2 admins now." in text(app))
        assert last(source, "promote") == {"peer": identity(1), "admin": True}
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, ThresholdScreen))
        await pilot.press("2", "enter")
        await until(pilot, lambda: "Between 1 and 1" in text(app))
        await pilot.press("backspace", "1", "enter")
        await until(pilot, lambda: "1 admin must sign a change from now on." in text(app))
        assert last(source, "threshold") == {"admins": 1}


async def test_a_waiting_change_is_read_before_it_is_signed(folder: Path) -> None:
    wants = ChangeView("c1" * 32, "make tomoko an admin", "amir-mbp", ("amir-mbp",), 1, 9)
    view = replace(training(folder), role="admin", changes=(wants,))
    async with shown(view) as (pilot, app, source):
        with_members(source)
        await until(pilot, lambda: "amir-mbp asks the admins to make tomoko" in text(app))
        await pilot.press("8")
        await until(pilot, lambda: "1 to be signed" in text(app))
        app.screen.query_one(Table).choose(identity(0))
        await pilot.press("a")
        await until(pilot, lambda: "Read what it changes" in text(app))
        await pilot.press("a")
        await until(pilot, lambda: "Sign what amir-mbp asks for?" in text(app))
        assert "endorse" not in dict(source.done)
        await pilot.press("right", "enter")
        await until(pilot, lambda: last(source, "endorse") == {"id": wants.id})
        await until(pilot, lambda: "it is in effect" in text(app))
        source.now = replace(view, changes=(replace(wants, mine=True),))
        await until(pilot, lambda: "You have signed it." in text(app))


@pytest.mark.parametrize("place", ["1", "3", "8"])
async def test_a_round_that_waits_is_started_after_a_question(folder: Path, place: str) -> None:
    view = training(folder)
    held = replace(view, round=replace(view.round, phase="WAITING", held=True))
    async with shown(view) as (pilot, app, source):
        with_members(source)
        await pilot.press(place, "s")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmScreen), "it goes on by itself"
        source.now = held
        await until(pilot, lambda: "s starts it" in text(app))
        await pilot.press("s")
        await until(pilot, lambda: "Start round 3?" in text(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "Rounds may begin up to round 3." in text(app))
        assert last(source, "start_rounds") == {"rounds": 1}


async def test_what_is_refused_again_and_again_is_told_once(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        with_members(source)
        source.answers["verify"] = FedtuiError("only an admin can do that", "no", "ask one")
        await pilot.press("8")
        await until(pilot, lambda: "✓ verified" in text(app))
        await pilot.press("j")
        for n in range(1, 6):
            await pilot.press("v")
            await until(pilot, lambda n=n: [d[0] for d in source.done].count("verify") == n)  # type: ignore[misc]
        await until(pilot, lambda: "only an admin can do that" in text(app))
        assert len(app.screen.query(Toast)) == 1


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
