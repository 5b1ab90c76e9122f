"""Commands that look at a running node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fedtui.cli import output

if TYPE_CHECKING:
    from fedtui.control.client import ControlClient
    from fedtui.view import NodeView, PeerView, RoundView

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(json: Json = False) -> None:
    """Show what this machine's node is doing."""
    view = _view()
    if json:
        from fedtui.view import to_json

        output.data_json(to_json(view))
        return
    r = view.round
    lines = [
        f"{view.name} in {view.room_name}  {view.role}, up {_span(view.uptime_s)}",
        _round_line(r),
        f"model {view.model}; trainer {view.trainer.state} {view.trainer.device}",
        f"combines by {view.combines_by}",
        *([f"shares {view.shared}"] if view.shared else []),
        f"adapter {view.adapter or 'none yet'}",
    ]
    if r.headline:
        lines.append(r.headline)
    elif r.waiting_for:
        names = {peer.id: peer.name for peer in view.peers}
        lines.append(f"waiting for {', '.join(names.get(p, p[:8]) for p in r.waiting_for)}")
    if view.discovery.startswith("off"):
        lines.append(f"discovery {view.discovery}; `fedtui peer add HOST:PORT` names a member")
    for change in view.changes:
        who = "" if change.mine else f"; sign it with `fedtui room endorse {change.short}`"
        lines.append(f"{change.author} asks the admins to {change.text}{who}")
    note = "" if r.headline else r.note
    lines += [text for text in (note, view.notice) if text]
    output.data("\n".join(lines))


def peers(json: Json = False) -> None:
    """List the room's members as this node sees them."""
    view = _view()
    if json:
        from dataclasses import asdict

        output.data_json([asdict(peer) for peer in view.peers])
        return
    names = {peer.id: peer.name for peer in view.peers}
    rows = [
        (
            peer.name + (" (this node)" if peer.me else ""),
            peer.short,
            peer.role,
            peer.state.lower(),
            f"{peer.step}/{peer.steps}" if peer.steps else "-",
            "-" if peer.samples is None else str(peer.samples),
            peer.address or "-",
            _way(peer, names),
            "-" if peer.rtt_ms is None else f"{peer.rtt_ms:.0f} ms",
        )
        for peer in view.peers
    ]
    header = ("name", "id", "role", "state", "step", "pictures", "address", "way", "rtt")
    output.data(output.table(header, rows))


def _way(peer: PeerView, names: Mapping[str, str]) -> str:
    """How the two reach one another, in a word or two."""
    if peer.via:
        return f"via {names.get(peer.via, peer.via[:8])}"
    return peer.reach.replace("_", "-") or "-"


def rounds(json: Json = False) -> None:
    """List the committed rounds."""
    view = _view()
    if json:
        from dataclasses import asdict

        output.data_json([asdict(commit) for commit in view.commits])
        return
    names = {peer.id: peer.name for peer in view.peers}
    rows = [
        (
            str(commit.round),
            commit.result[:12],
            names.get(commit.aggregator, commit.aggregator[:8]),
            str(commit.attempt),
            str(len(commit.inputs)),
            str(len(commit.excluded)),
            str(len(commit.signers)),
            "-" if commit.seconds is None else f"{commit.seconds:.1f} s",
        )
        for commit in view.commits
    ]
    header = ("round", "adapter", "aggregator", "attempt", "inputs", "left out", "signed", "took")
    output.data(output.table(header, rows))


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay and print new ones.")
    ] = False,
    since: Annotated[int, typer.Option(min=0, help="Only events after this number.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="For symmetry: events are always JSON lines.")
    ] = True,
) -> None:
    """Print the node's events, one JSON object per line."""
    del json
    with_node(lambda client: _print_events(client, since, follow=follow))


def watch(
    plain: Annotated[
        bool, typer.Option("--plain", help="One line of text per event: screen readers, logs.")
    ] = False,
) -> None:
    """Look on in the interface, or by a line per event."""
    if plain:
        with_node(_print_sentences)
        return
    from fedtui.cli.node import attach

    raise typer.Exit(attach())


def locate(json: Json = False) -> None:
    """Show where this profile keeps its files."""
    from fedtui import paths

    profile = paths.default_profile()
    places = {
        "profile": profile.root,
        "settings": profile.config,
        "identity": profile.identity,
        "state": profile.state,
        "control": profile.control,
        "events": profile.events,
        "log": profile.log,
        "trainer_log": profile.trainer_log,
        "rooms": profile.rooms,
    }
    if json:
        output.data_json({name: str(path) for name, path in places.items()})
        return
    rows = [
        (name.replace("_", " "), str(path), "" if path.exists() else "not yet")
        for name, path in places.items()
    ]
    output.data(output.table(("what", "where", ""), rows))


def _view() -> NodeView:
    return with_node(lambda client: client.view())


def with_node(work: Callable[[ControlClient], Awaitable[T]]) -> T:
    """Runs ``work`` with a client of this profile's node."""
    from fedtui import paths
    from fedtui.cli import running
    from fedtui.control.client import ControlClient

    async def main() -> T:
        async with ControlClient(paths.default_profile().control) as client:
            return await work(client)

    return running.run(main())


async def _print_events(client: ControlClient, since: int, *, follow: bool) -> None:
    async for event in client.events(since, follow=follow):
        output.data_json(event)


async def _print_sentences(client: ControlClient) -> None:
    """One line per event, with the names that the view knows at that moment."""
    from fedtui.events import QUIET, sentence

    names: dict[str, str] = {}

    def name_of(peer: str) -> str:
        return names.get(peer, peer[:8])

    async for event in client.events(follow=True):
        if event["type"] in QUIET:
            continue
        if isinstance(event.get("peer"), str) and event["peer"] not in names:
            names.update({peer.id: peer.name for peer in (await client.view()).peers})
        text, level = sentence(event, name_of)
        mark = {"warning": "warning: ", "error": "error: "}.get(level, "")
        clock = time.strftime("%H:%M:%S", time.localtime(event["ts"]))
        output.data(f"{clock} {mark}{text}")
        await asyncio.sleep(0)


def _round_line(r: RoundView) -> str:
    if r.phase == "DONE":
        return f"all {r.rounds} rounds are done"
    return (
        f"round {r.number} of {r.rounds}: {r.phase.lower()}, attempt {r.attempt + 1}, "
        f"{r.contributions} of {r.expected} contributions, quorum {r.quorum} of {len(r.voters)}"
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
