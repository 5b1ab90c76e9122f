"""Text from other machines is only ever text: no escapes, no markup, no actions."""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from textual.strip import Strip
from tui_driver import shown, strips, until
from tui_scenarios import several_rounds, training

from fedtui.tui.lines import (
    cut,
    cut_middle,
    cut_path,
    cut_words,
    left,
    listed,
    plain,
    right,
    wrapped,
)
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.view import EventView, EvidenceView, NodeView, RequestView

ATTACKS = (
    "[@click=app.quit]alice's laptop[/]",
    "[/x",
    "[bold red]x[/]",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31m\x90",
    "\u202eevil\u202d\u2066",
    "a\nb\tc\r\x00",
    "\ud800",
    "é" * 200 + "́" * 200,
    "👩\u200d👩\u200d👧\u200d👦" * 50,
    "漢" * 300,
)
hostile = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(max_size=80),
    st.text(alphabet="[]/@=\\'\"\x1b\x9b\u202e \nab", max_size=60),
)


def poisoned(view: NodeView, words: list[str]) -> NodeView:
    """``view`` with every text that another machine can choose replaced."""
    a, b, c, d = words
    return replace(
        view,
        name=a,
        room_name=b,
        model=c,
        algorithm=d,
        notice=a,
        dataset=b,
        round=replace(view.round, note=c, waiting_for=(d, view.peers[1].id), phase="PAUSED"),
        trainer=replace(view.trainer, device=a, detail=b),
        peers=tuple(
            replace(p, name=words[i % 4], device=b, address=c, role=d, state=a)  # type: ignore[arg-type]
            for i, p in enumerate(view.peers)
        ),
        previews=tuple(replace(p, prompt=a if p.seed == 7 else b) for p in view.previews),
        events=tuple(EventView(i, 0.0, w, w, "warning") for i, w in enumerate(words)),
    )


def assert_harmless(rows: list[Strip]) -> None:
    """Only printable cells, and no action hidden in a style but the interface's own."""
    for row in rows:
        for segment in row:
            for char in segment.text:
                assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
            meta = segment.style.meta if segment.style else {}
            actions = {name: value for name, value in meta.items() if name.startswith("@")}
            # Scrollbars have actions of their own, without a namespace.
            assert not [value for value in actions.values() if "app." in str(value)]
            assert "@click" not in actions
            assert segment.control is None


@given(words=st.lists(hostile, min_size=4, max_size=4))
@example(words=list(ATTACKS[0:4]))
@example(words=list(ATTACKS[4:8]))
@example(words=list(ATTACKS[7:11]))
@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_text_of_a_peer_reaches_the_terminal_as_anything_but_text(
    folder: Path, words: list[str]
) -> None:
    async def look() -> None:
        async with shown(poisoned(training(folder), words), (120, 40)) as (pilot, app, _source):
            rows = strips(app)
            assert_harmless(rows)
            assert all(row.cell_length == 120 for row in rows)
            app.screen.query_one(PeerTable).focus()
            await pilot.press("y", "space")
            await pilot.pause()
            assert_harmless(strips(app))

    asyncio.run(look())


@pytest.mark.parametrize("attack", ["".join(ATTACKS[:4]), "".join(ATTACKS[4:8])], ids=["a", "b"])
async def test_no_screen_takes_a_text_for_more_than_text(folder: Path, attack: str) -> None:
    view = poisoned(training(folder), [attack] * 4)
    commit = replace(
        several_rounds(folder).commits[-1], excluded=((view.peers[1].id, attack), ("x", attack))
    )
    request = RequestView("r", "p9", attack, attack, (attack,), attack, attack, attack, 1.0, "p1")
    evidence = (EvidenceView(1, view.peers[1].id, attack),)
    async with shown(replace(view, commits=(commit,), requests=(request,), evidence=evidence)) as (
        pilot,
        app,
        source,
    ):
        source.answers |= poisoned_answers(attack)
        for key in ("2", "3", "4", "5", "6", "7", "8", "9", "comma", "D", "w", "8", "t", "a"):
            await pilot.press(key)
            await pilot.pause()
            await pilot.press("enter")
            await pilot.pause(0.05)
            assert_harmless(strips(app))
            assert app.is_running
            if len(app.screen_stack) > 1:
                await pilot.press("escape")


def poisoned_answers(attack: str) -> dict[str, Any]:
    """What a node answers when other machines have chosen every text."""
    file = {"file": attack, "caption": attack, "width": 64, "height": 64}
    problem = {"file": f"{attack}2", "problem": attack, "remedy": attack, "fatal": True}
    adapter = {"path": attack, "name": attack, "kind": attack, "round": 0, "bytes": 1}
    member = {"peer": "p1", "name": attack, "role": attack, "me": False, "verified": False}
    job = {"id": 1, "state": "failed", "prompt": attack, "pictures": 1, "step": 0, "steps": 1}
    return {
        "read_log": lambda **asked: (
            {"lines": [["x", attack, attack]], "next": 1, "path": attack}
            if asked["after"] < 0
            else {"lines": [], "next": 1, "path": attack}
        ),
        "check_folder": {"folder": attack, "usable": 1, "pictures": [file], "problems": [problem]},
        "list_adapters": {"adapters": [{**adapter, "modified": attack}], "shelf": attack},
        "inspect_adapter": {
            "title": attack,
            "ranks": {attack: 1},
            "matching": 1,
            "modules": 1,
            "ignored": [attack],
            "metadata": {attack: attack},
            "path": attack,
        },
        "generations": {"jobs": [{**job, "preview": "", "paths": [attack], "error": attack}]},
        "members": {"members": [{**member, "fingerprint": attack, "words": [attack]}]},
        "trust_history": {"events": [{"ts": 1.0, "event": attack, "name": attack}]},
    }


async def test_a_name_with_an_action_is_shown_and_does_nothing(folder: Path) -> None:
    view = poisoned(training(folder), [ATTACKS[0]] * 4)
    async with shown(view, (200, 60)) as (pilot, app, _source):
        seen = "\n".join(strip.text for strip in strips(app))
        assert "[@click=app.quit]alice's laptop" in seen
        row = next(i for i, line in enumerate(seen.splitlines()) if "(you)" in line)
        for column in range(4, 30, 5):
            await pilot.click(offset=(column, row))
        await pilot.pause()
        assert app.is_running


async def test_the_question_before_quitting_shows_names_as_text(folder: Path) -> None:
    view = poisoned(training(folder), [ATTACKS[0]] * 4)
    async with shown(view, owns_room=True, quit_hint="[@click=app.bell]x[/]") as (pilot, app, _):
        await pilot.press("q")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.pause()
        assert_harmless(strips(app))


@given(text=hostile, width=st.integers(0, 40))
def test_cutting_keeps_to_the_width_and_to_printable_characters(text: str, width: int) -> None:
    from rich.cells import cell_len

    for cutter in (cut, cut_middle, cut_path, cut_words):
        assert cell_len(cutter(text, width)) <= width
        assert cutter(text, width).isprintable()
    assert cell_len(left(text, width)) == width
    assert cell_len(right(text, width)) == width
    for line in wrapped(text, max(1, width)):
        assert sum(cell_len(word) for word, _ in line) <= max(1, width)


@given(text=hostile)
def test_plain_text_is_plain_whatever_comes(text: str) -> None:
    once = plain(text)
    assert once.isprintable()
    assert plain(once) == once
    assert once == once.strip()
    assert "  " not in once


@pytest.mark.parametrize(
    ("names", "phrase"),
    [
        ([], ""),
        (["lena"], "lena"),
        (["a", "b"], "a, b"),
        (list("abcdef"), "a, b, c, d, e, f"),
        (list("abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_long_lists_of_names_are_counted(names: list[str], phrase: str) -> None:
    assert listed(names) == phrase
