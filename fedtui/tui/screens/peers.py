"""Who is here: everybody's state at the left, everything known of one member at the right, and how
this machine reaches them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from fedtui.sizes import sized
from fedtui.tui.facts import bar, fact, flowing, heading, said
from fedtui.tui.keymap import PEER_KEYS
from fedtui.tui.lines import Ink, Line, plain
from fedtui.tui.messages import Answered
from fedtui.tui.screens.address import AddressScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.order import OrderScreen
from fedtui.tui.widgets.network import NetworkMap
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Table
from fedtui.tui.widgets.trafficplot import TrafficPlot
from fedtui.tui.wording import (
    AGGREGATOR,
    NOTHING,
    ago,
    count,
    loss,
    name_of,
    names_by_id,
    peer_sign,
    rtt,
    unseen,
)
from fedtui.view import CommitView, NodeView, PeerView

BAR = 24
WAYS = "-ways"
"""Of the screen: the ways to the others are shown in place of one member."""
FALLING = "falling"
REACH: Mapping[str, tuple[str, Ink]] = {
    "direct": ("both ways", "ok"),
    "one_way": ("one way only: this machine or the other is behind a firewall", "warning"),
    "relayed": ("not directly, through", "warning"),
}
ALONE = (
    "Nobody else has been met yet. Others must be on the same network and in the same room. "
    "If they are: D says what stands in the way, and a connects to an address."
)


class PeersScreen(ListScreen):
    """A table and a sheet; the ways to the others and traffic beside the sheet, or in its place."""

    PLACE = "peers"
    BINDINGS: ClassVar[list[BindingType]] = PEER_KEYS
    AUTO_FOCUS: ClassVar[str] = "PeerTable"

    table: PeerTable

    def __init__(self) -> None:
        super().__init__()
        self.table = PeerTable(id="members")
        self.sheet = Sheet(id="member")
        self.ways = NetworkMap(id="ways")
        self.traffic = TrafficPlot(id="traffic")

    def body(self) -> ComposeResult:
        """Members, one of them, and the network between."""
        for panel in (self.table, self.sheet, self.ways, self.traffic):
            panel.add_class("panel")
        feed = PeersScreen.feed
        self.ways.data_bind(feed)
        self.traffic.data_bind(feed)
        yield Split(
            self.table.data_bind(feed), Vertical(self.sheet, self.ways, self.traffic, id="told")
        )

    def on_mount(self) -> None:
        """As it was left."""
        self.set_class(bool(self.remembered("ways")), WAYS)
        name, _, way = self.remembered("order").partition(" ")
        self.table.set_order(name, falling=way == FALLING)
        self.table.tell()

    def action_network(self) -> None:
        """Shows the ways to the others in place of one member, or the other way round."""
        self.toggle_class(WAYS)
        self.remember("ways", WAYS if self.has_class(WAYS) else "")
        self.table.focus()

    def open_chosen(self) -> None:
        """Goes to what is told of the member, for reading on."""
        self.remove_class(WAYS)
        self.call_after_refresh(self.sheet.focus)  # only what is displayed can have the focus

    def on_resize(self) -> None:
        """Where there is room for everything, everything is shown."""
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to switch where everything is shown."""
        if action == "network":
            return not (self.has_class("-xwide") and self.has_class("-xtall"))
        return super().check_action(action, parameters)

    def watch_feed(self) -> None:
        """Ages go on also when the row stays the same."""
        self.show_chosen()

    def action_address(self) -> None:
        """Connects to a member where nobody is found."""

        def connect(place: str | None) -> None:
            if place:
                self.ask("add_address", place=place)

        self.app.push_screen(AddressScreen(), connect)

    def action_order(self) -> None:
        """Asks for another order; it stays, also after the interface has been left."""

        def choose(name: str | None) -> None:
            if name is not None:
                self._order_by(name)

        self.app.push_screen(OrderScreen(self.table.order), choose)

    def on_table_header_clicked(self, message: Table.HeaderClicked) -> None:
        """A click on a column's name orders by it, a second one the other way round."""
        message.stop()
        self._order_by(message.name)

    def _order_by(self, name: str) -> None:
        self.table.order_by(name)
        self.table.tell()
        order = self.table.order
        way = f" {FALLING}" if order and order.falling else ""
        self.remember("order", f"{order.name}{way}" if order else "")

    def on_answered(self, message: Answered) -> None:
        """Says who answered."""
        if message.operation == "add_address":
            name, place = (plain(str(message.result[part])) for part in ("name", "address"))
            self.notify(f"{name} answers at {place}.", markup=False)

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        view, peer = self.view, self.table.selected
        if view is None or peer is None:
            self.sheet.entitle((("Member", "muted"),))
            self.sheet.show(lambda width: ())
            return
        newest = next((p for p in view.peers if p.id == peer.id), peer)
        self.sheet.entitle(((name_of(newest), "strong"),))
        self.sheet.show(
            lambda width: member_lines(view, newest, width), (f"the id of {name_of(peer)}", peer.id)
        )


def member_lines(view: NodeView, peer: PeerView, width: int) -> list[Line]:
    """All that is known of a member."""
    sign = peer_sign(peer)
    state: list[Line] = [((f"{sign.glyph} {sign.word}", sign.ink),)]
    if peer.me:
        state.append((("  this machine", "muted"),))
    if peer.aggregator:
        state.append(((f"  {AGGREGATOR} combines this round", "accent"),))
    lines = [fact("state", *state), fact("role", ((plain(peer.role), "text"),))]
    if peer.steps:
        share: Line = ((f" {peer.step} of {peer.steps}", "text"),)
        lines.append(fact("training", bar(peer.progress, min(BAR, max(4, width - 32))), share))
    if peer.loss is not None:
        lines.append(fact("loss", ((loss(peer.loss), "text"),)))
    if peer.samples is not None:
        lines.append(fact("pictures", ((f"{peer.samples}", "text"),)))
    if peer.images_per_s:
        lines.append(fact("speed", ((f"{peer.images_per_s:.1f} pictures a second", "text"),)))
    lines += said("computes on", plain(peer.device) or NOTHING, width)
    lines += [(), heading("Network")]
    lines += network_lines(view, peer, width)
    lines += [(), heading("Rounds")]
    lines += part_lines(view, peer, width)
    broken = [e for e in view.evidence if e.accused == peer.id]
    for each in broken:
        lines += said("evidence", f"round {each.round}: {plain(each.offence)}", width, "error")
    lines += [(), heading("Identity")]
    lines += said("whole id", " ".join(fours(peer.id)), width, "muted")
    if not peer.me and len(view.peers) > 1 and all(p.me or unseen(p) for p in view.peers):
        lines += [(), *said("", ALONE, width, "muted")]
    return lines


def network_lines(view: NodeView, peer: PeerView, width: int) -> list[Line]:
    """Where it is and when it was heard."""
    if peer.me:
        return said("", "This machine. Only members of the room can connect to it.", width)
    lines = said("address", plain(peer.address) or "not known yet", width)
    ink: Ink
    told, ink = REACH.get(peer.reach, ("", "text"))
    if told:
        through = names_by_id(view).get(peer.via, "") if peer.via else ""
        lines += said("reachable", f"{told} {through}".strip(), width, ink)
    if unseen(peer):
        return lines + said("heard", "not since this machine started", width, "warning")
    heard = ago(peer.last_seen_s)
    lines.append(fact("heard", (("now" if heard == "now" else f"{heard} ago", "text"),)))
    lines.append(fact("answers in", ((rtt(peer.rtt_ms), "text"),)))
    if peer.received or peer.sent:
        told = f"{sized(peer.received)} from it, {sized(peer.sent)} to it"
        lines += said("moved", told, width)
    return lines


def part_lines(view: NodeView, peer: PeerView, width: int) -> list[Line]:
    """In which rounds its contribution counted, newest last."""
    done = [part_of(commit, peer) for commit in view.commits]
    if not done:
        return said("", "No round has been committed yet.", width, "muted")
    counted = sum(commit_has(commit, peer) for commit in view.commits)
    told = f"in {counted} of {count(len(view.commits), 'committed round')}"
    return [*said("counted", told, width), *flowing(done, width)]


def commit_has(commit: CommitView, peer: PeerView) -> bool:
    """Whether a round was combined with this member's contribution."""
    return any(each.peer == peer.id for each in commit.inputs)


def part_of(commit: CommitView, peer: PeerView) -> Line:
    """One round: counted, left out with the reason, or without it."""
    if commit_has(commit, peer):
        return ((f"r{commit.round} ", "text"), ("✓", "ok"))
    reason = next((why for who, why in commit.excluded if who == peer.id), "")
    if reason:
        return ((f"r{commit.round} ", "text"), (f"✗ {plain(reason)}", "warning"))
    return ((f"r{commit.round} ", "muted"), (NOTHING, "faint"))


def fours(text: str) -> list[str]:
    """An id in groups of four, as it is read aloud."""
    text = plain(text)
    return [text[i : i + 4] for i in range(0, len(text), 4)]
