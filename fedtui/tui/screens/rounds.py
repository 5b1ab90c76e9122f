"""Every round: who combined what, who signed, and whether this machine got the same result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from fedtui.tui.comparing import checked_word
from fedtui.tui.facts import bar, fact, flowing, heading, said
from fedtui.tui.keymap import ROUND_KEYS
from fedtui.tui.lines import Line, Span, cut_middle, left, listed, plain, right, wrapped
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.screens.difference import DifferenceScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.timeline import ABSENT, timeline, times_of
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Column, Table, number, one
from fedtui.tui.wording import (
    AGGREGATOR,
    NOTHING,
    absent,
    clock,
    loss,
    namer,
    names_by_id,
    phase_sign,
    short_id,
)
from fedtui.view import CommitView, NodeView, StatisticsView, TimesView, from_json

EMPTY = "No round yet. The first one starts when enough members have met."
BOTH = (100, 38)
"""Columns and lines from which on a round is told of, and its times are shown, at once."""
UNBEGUN = "Nobody has begun this round yet."
BAR = 12
SHARE_WIDTH = 65
"""From this width on, a contribution's line has all its figures."""
Name = Callable[[str], str]


@dataclass(frozen=True)
class Round:
    """A row: a committed round, or the open one with ``commit`` None."""

    number: int
    commit: CommitView | None
    state: Line
    aggregator: str
    inputs: str
    out: str
    signed: str
    mine: float | None
    took: str


def rounds(view: NodeView) -> tuple[Round, ...]:
    """The open round first, then the committed ones, newest first."""
    names = names_by_id(view)
    last: dict[int, float] = {point.round: point.loss for point in view.losses}
    rows = [
        Round(
            commit.round,
            commit,
            state_of(commit),
            names.get(commit.aggregator, short_id(commit.aggregator)),
            str(len(commit.inputs)),
            str(len(commit.excluded)) if commit.excluded else NOTHING,
            str(len(commit.signers)),
            last.get(commit.round),
            NOTHING if commit.seconds is None else f"{commit.seconds:.1f} s",
        )
        for commit in view.commits
    ]
    now = view.round
    if now.number and now.phase != "DONE" and all(r.number != now.number for r in rows):
        sign = phase_sign(now.phase)
        rows.append(
            Round(
                now.number,
                None,
                ((f"{sign.glyph} {sign.word}", sign.ink),),
                names.get(now.aggregator or "", NOTHING),
                f"{now.contributions}/{now.expected}" if now.expected else NOTHING,
                NOTHING,
                f"{now.commits}/{now.quorum}" if now.quorum else NOTHING,
                last.get(now.number),
                clock(now.elapsed_s),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.number))


def state_of(commit: CommitView) -> Line:
    """Committed, passed over, or committed with a result that this machine could not confirm."""
    if commit.recomputed is False:
        return (("✗ DIFFERS", "error"),)
    if commit.skipped:
        return (("○ SKIPPED", "muted"),)
    return (("✓ COMMIT", "ok"),)


def marked(aggregator: str) -> str:
    """The sign is for somebody."""
    return aggregator if aggregator == NOTHING else f"{AGGREGATOR} {aggregator}"


def padded(line: Line, width: int) -> Line:
    """A cell of one span in its own ink."""
    text, ink = line[0]
    return ((left(text, width), ink),)


COLUMNS: tuple[Column[Round], ...] = (
    Column("round", 0, 5, 5, lambda r, w: number(str(r.number), w), True),
    Column("state", 0, 9, 9, lambda r, w: padded(r.state, w)),
    Column("combines", 2, 8, 20, lambda r, w: one(marked(r.aggregator), w)),
    Column("inputs", 1, 6, 6, lambda r, w: number(r.inputs, w), True),
    Column("left out", 5, 8, 8, lambda r, w: number(r.out, w, "warning"), True),
    Column("signed", 4, 6, 6, lambda r, w: number(r.signed, w), True),
    Column("my loss", 3, 7, 7, lambda r, w: number(loss(r.mine), w), True),
    Column("took", 6, 7, 8, lambda r, w: number(r.took, w, "muted"), True),
)


class RoundsScreen(ListScreen):
    """A table of rounds and one of them in detail: what it came to, and who did what when."""

    PLACE = "rounds"
    BINDINGS: ClassVar[list[BindingType]] = ROUND_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Round] = Table(COLUMNS, lambda r: r.number, empty=EMPTY, id="ledger")
        self.sheet = Sheet(id="entry")
        self.times = Sheet(id="times")
        self._known: dict[int, TimesView | None] = {}
        self._wanted: list[int] = []
        self._asked = 0
        self._could = False
        self._compared: DifferenceScreen | None = None

    def body(self) -> ComposeResult:
        """Rounds, and one of them."""
        for panel in (self.table, self.sheet, self.times):
            panel.add_class("panel")
        yield Split(self.table, Vertical(self.sheet, self.times, id="beside"))

    def on_mount(self) -> None:
        """As it was left."""
        self.set_class(bool(self.remembered("times")), "-times")

    def watch_feed(self) -> None:
        """Rounds come and go on."""
        view = self.view
        self.table.fill(rounds(view) if view else (), absent(self.feed) or EMPTY)
        title: list[Span] = [("Rounds", "muted")]
        if view and view.commits:
            of = f" of {view.round.rounds}" if view.round.rounds else ""
            title.append((f" {len(view.commits)}{of} committed", "text"))
        self.table.entitle(tuple(title))
        self.show_chosen()
        could = bool(view and len(view.commits) > 1)
        if could != self._could:
            self._could = could
            self.refresh_bindings()

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        view, row = self.view, self.table.selected
        if view is None or row is None:
            for sheet, title in ((self.sheet, "Round"), (self.times, "Times")):
                sheet.entitle(((title, "muted"),))
                sheet.show(lambda width: ())
            return
        self.sheet.entitle(((f"Round {row.number}", "strong"),))
        commit = row.commit
        if commit is None:
            self.sheet.show(lambda width: open_lines(view, width))
        else:
            self.sheet.show(
                lambda width: commit_lines(view, commit, width),
                (f"the adapter's hash of round {commit.round}", commit.result),
            )
        # Not whether it is displayed: styles follow their classes a moment later.
        if self.classes & {"-both", "-times"}:
            self._show_times(view, row)

    def _show_times(self, view: NodeView, row: Round) -> None:
        number, commit = row.number, row.commit
        self.times.entitle(((f"Times of round {number}", "strong"),))
        found = self.times_known(number) if commit else times_of(view, number)
        part = took_part(commit) if commit else set(view.round.waiting_for)
        if commit is None and not (found and (found.lanes or part)):
            self.times.show(lambda width: wrapped(UNBEGUN, width - 1, "muted"))
        elif found is not None:
            leader = commit.aggregator if commit else view.round.aggregator or ""
            self.times.show(lambda width: timeline(view, found, leader, part, width))
        else:
            told = ABSENT if number in self._known else ""
            self.times.show(lambda width: wrapped(told, width - 1, "muted"))

    def times_known(self, number: int) -> TimesView | None:
        """The times of a committed round; the node is asked for what is not in its view."""
        found = times_of(self.view, number) if self.view else None
        found = found or self._known.get(number)
        if found is None and number not in self._known and number not in self._wanted:
            self._wanted.append(number)
            if not self._asked:
                self._ask()
        return found

    def _ask(self) -> None:
        """One after another, the last that was looked at first."""
        self._asked = self._wanted[-1] if self._wanted and not self.feed.lost else 0
        if self._asked:
            self.ask("round_times", round=self._asked)

    def _learn(self, number: int, times: TimesView | None) -> None:
        self._known[number] = times
        self._wanted = [each for each in self._wanted if each != number]
        self.show_chosen()
        if self._compared is not None and self._compared.is_current:
            self._compared.redraw()
        self._ask()

    def on_answered(self, message: Answered) -> None:
        """Times of an earlier round; they change no more."""
        if message.operation == "round_times":
            told = message.result["times"]
            found = from_json(TimesView, told) if told else None
            self._learn(int(message.result["round"]), found)

    def on_refused(self, message: Refused) -> None:
        """A node of an earlier version tells no times: no reason for a message."""
        if message.operation == "round_times":
            message.prevent_default()
            self._learn(self._asked, None)

    def action_difference(self) -> None:
        """Compares the round under the cursor with the one before it."""
        view, row = self.view, self.table.selected
        if view is not None and row is not None and len(view.commits) > 1:
            self._compared = DifferenceScreen(view, row.number, self.times_known)
            self.app.push_screen(self._compared)

    def look_again(self) -> None:
        """What was not known may be: another node may answer now."""
        self._known = {number: times for number, times in self._known.items() if times}
        self._wanted.clear()
        self._asked = 0
        self.show_chosen()

    def action_times(self) -> None:
        """Shows who did what when in place of what it came to, or the other way round."""
        self.toggle_class("-times")
        self.remember("times", "-times" if self.has_class("-times") else "")
        self.table.focus()
        self.show_chosen()

    def open_chosen(self) -> None:
        """Goes to what is shown of the round, for reading on."""
        only_times = self.has_class("-times") and not self.has_class("-both")
        (self.times if only_times else self.sheet).focus()

    def on_resize(self) -> None:
        """Where there is room for both, both are shown."""
        width, height = self.size
        self.set_class(width >= BOTH[0] and height >= BOTH[1], "-both")
        self.refresh_bindings()
        self.show_chosen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to switch where both are shown."""
        if action == "times":
            return not self.has_class("-both")
        if action == "difference":
            return True if self._could else None
        return super().check_action(action, parameters)


def took_part(commit: CommitView) -> set[str]:
    """Who contributed, was left out, combined or signed."""
    inputs = {each.peer for each in commit.inputs}
    return {*inputs, *(peer for peer, _ in commit.excluded), commit.aggregator, *commit.signers}


def open_lines(view: NodeView, width: int) -> list[Line]:
    """The round under way: who combines, who is next, what came in, what is missing."""
    now, name = view.round, namer(view)
    sign = phase_sign(now.phase)
    lines = [fact("state", ((f"{sign.glyph} {sign.word}", sign.ink),))]
    if now.note:
        lines += said("", now.note, width, "warning" if now.phase == "PAUSED" else "muted")
    lines += election_lines(now.order, now.attempt, name, width)
    lines += [(), heading("Votes")]
    lines += said(
        "quorum", f"{now.quorum} of {len(now.voters)} voters must get the same result", width
    )
    lines.append(fact("prepares", *votes(now.prepares, now.quorum)))
    lines.append(fact("commits", *votes(now.commits, now.quorum)))
    lines += [(), heading("Contributions")]
    lines.append(fact("came in", *votes(now.contributions, now.expected)))
    for peer in view.peers:
        if peer.contributed:
            lines.append((("✓ ", "ok"), (name(peer.id), "text")))
    if now.waiting_for:
        lines += said("waiting for", listed(map(name, now.waiting_for)), width)
    if now.deadline_in_s is not None and now.phase in ("TRAIN", "COLLECT"):
        told = f"whoever has not sent by then is left out: {clock(now.deadline_in_s)} from now"
        lines += said("deadline", told, width, "muted")
    return lines


def votes(have: int, need: int) -> tuple[Line, Line]:
    """A tally with its bar."""
    share = have / need if need else 0.0
    return bar(share, BAR, "ok" if share >= 1 else "accent"), ((f" {have} of {need}", "text"),)


def election_lines(order: tuple[str, ...], attempt: int, name: Name, width: int) -> list[Line]:
    """Who combines, who should have before and failed, and who would be next."""
    if not order:
        return []
    at = min(attempt, len(order) - 1)
    lines: list[Line] = [(), heading("Election")]
    lines.append(fact("aggregator", ((f"{AGGREGATOR} {name(order[at])}", "strong"),)))
    if attempt:
        gone = listed(name(peer) for peer in order[:at])
        lines += said("before", f"{gone} (attempt {attempt + 1} now)", width, "warning")
    if upcoming := order[at + 1 :]:
        lines += said("then", listed(name(peer) for peer in upcoming), width)
    lines += said(
        "", "The order follows from the last commit; everybody computes it.", width, "muted"
    )
    return lines


def commit_lines(view: NodeView, commit: CommitView, width: int) -> list[Line]:
    """A ledger entry."""
    name = namer(view)
    lines = [fact("state", state_of(commit)), fact("checked", checked(commit, view.id))]
    lines.append(fact("aggregator", ((f"{AGGREGATOR} {name(commit.aggregator)}", "strong"),)))
    if commit.attempt:
        lines += said("attempt", f"{commit.attempt + 1}: those before did not get it done", width)
    if commit.seconds is not None:
        lines += said("took", f"{commit.seconds:.1f} s from the last contribution on", width)
    signed = f"{len(commit.signers)}: {listed(map(name, commit.signers))}"
    lines += said("signed by", signed, width)
    lines.append(fact("adapter", ((cut_middle(commit.result, max(16, width - 15)), "muted"),)))
    lines += [(), heading(f"Contributions {len(commit.inputs)}")]
    found = commit.statistics
    lines += share_lines(found, name, width) if found else input_lines(commit, name, width)
    told = {each.peer for each in found.shares if each.excluded} if found else set()
    for peer, reason in commit.excluded:
        if peer not in told:
            lines += said(f"✗ {name(peer)}", plain(reason) or "left out", width, "warning")
    if found:
        lines += sum_lines(found, width)
    return lines + evidence_lines(view, commit.round, name, width)


def share_lines(found: StatisticsView, name: Name, width: int) -> list[Line]:
    """What the round made of each contribution: its weight, its size, its direction."""
    whole = width >= SHARE_WIDTH
    room = max(8, min(20, width - (SHARE_WIDTH - 20 if whole else 27)))
    titles = f"{'pictures':>9}{'norm':>8}{'cosine':>8}" if whole else f"{'cosine':>8}"
    lines: list[Line] = [((left("", room + 1 + BAR + 7) + titles, "faint"),)]
    for each in found.shares:
        against = each.cosine < 0
        cells: Line = ((f"{each.cosine:8.2f}", "warning" if against else "text"),)
        if whole:
            cells = ((f"{each.samples:9}{each.norm:8.3g}", "muted"), *cells)
        lines.append(
            (
                (left(name(each.peer), room) + " ", "warning" if each.excluded else "text"),
                *bar(each.weight, BAR),
                (f"{each.weight * 100:4.0f} % ", "text"),
                *cells,
            )
        )
        if each.excluded:
            lines += wrapped(f"  ✗ {each.excluded}", width - 1, "warning")
        elif each.clipped < 1:
            lines += wrapped(f"  shortened to {each.clipped * 100:.0f} %", width - 1, "muted")
    return lines


def sum_lines(found: StatisticsView, width: int) -> list[Line]:
    """How the sum was made, and what averaging the factors would have lost."""
    lines: list[Line] = [(), heading("The sum")]
    rule = f", weights by {found.rule}" if found.rule else ""
    lines += said("combined by", f"{found.mode}{rule}", width)
    if found.residual_share > 0:
        told = f"FedAvg would have lost {found.residual_share * 100:.1f} % of the update"
        lines += said("exactness", told, width, "ok" if found.mode != "fedavg" else "warning")
    if found.previous > 0:
        told = f"{found.previous * 100:.0f} % stayed with the adapter before"
        lines += said("kept", told, width)
    if found.bytes_in:
        told = f"{found.bytes_in / 1e6:.2f} MB in, {found.bytes_out / 1e6:.2f} MB out"
        lines += said("size", told, width)
    if found.note:
        lines += said("note", found.note, width, "warning")
    return lines


def evidence_lines(view: NodeView, number: int, name: Name, width: int) -> list[Line]:
    """Proofs that somebody broke the rules in a round."""
    found = [each for each in view.evidence if each.round == number]
    lines: list[Line] = [(), heading("Evidence")] if found else []
    for each in found:
        told = f"{name(each.accused)} broke the rules: {plain(each.offence)}"
        lines += wrapped(told, width - 1, "error")
    return lines


def checked(commit: CommitView, me: str) -> Line:
    """What this machine's own computation said."""
    if commit.recomputed is None:
        return ((checked_word(commit, me), "ok" if commit.aggregator == me else "muted"),)
    if commit.recomputed:
        return (("recomputed here, equal byte for byte", "ok"),)
    return (("recomputed here, and it is NOT the same", "error"),)


def input_lines(commit: CommitView, name: Name, width: int) -> list[Line]:
    """What went in: whose, with how much weight."""
    total = sum(each.samples for each in commit.inputs) or 1
    room = max(8, min(20, width - BAR - 24))
    lines: list[Line] = []
    for each in commit.inputs:
        share = each.samples / total
        lines.append(
            (
                (left(name(each.peer), room) + " ", "text"),
                *bar(share, BAR),
                (f"{share * 100:4.0f} %", "text"),
                (right(f"{each.samples} pictures", 15), "muted"),
            )
        )
    if commit.skipped:
        lines += flowing([(("Nobody contributed; the adapter stays as it was.", "muted"),)], width)
    return lines
