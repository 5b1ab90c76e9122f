"""What changed from one committed round to another, in lines: figures of both, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fedtui.tui.facts import NAME, heading
from fedtui.tui.lines import Ink, Line, cut_middle, left, listed, plain, right, wrapped
from fedtui.tui.wording import AGGREGATOR, NOTHING, count, loss, namer
from fedtui.view import CommitView, LaneView, NodeView, ShareView, StatisticsView, TimesView

Name = Callable[[str], str]
ARROW = " → "
FIGURE = 6
"""Cells of one of two figures with an arrow between them."""
PAIR = 2 * FIGURE + len(ARROW)
HASH = 17
MEMBER = (10, 20)
"""Cells for a member's name, at least and at most."""


@dataclass(frozen=True)
class Side:
    """A round with all that this machine knows of it."""

    commit: CommitView
    times: TimesView | None
    mine: float | None

    @property
    def parts(self) -> dict[str, Part]:
        """What each member had to do with its contributions, by peer id."""
        found = self.commit.statistics
        shares = {share.peer: share for share in found.shares} if found else {}
        samples = {each.peer: each.samples for each in self.commit.inputs}
        out = dict(self.commit.excluded)
        out |= {peer: share.excluded for peer, share in shares.items() if share.excluded}
        lanes = {lane.peer: lane for lane in self.times.lanes} if self.times else {}
        return {
            peer: Part(samples.get(peer), shares.get(peer), out.get(peer, ""), lanes.get(peer))
            for peer in {*samples, *out}
        }


class Part(NamedTuple):
    """One member's contribution to a round."""

    samples: int | None
    share: ShareView | None
    excluded: str
    lane: LaneView | None


class Row(NamedTuple):
    """One fact of both rounds."""

    name: str
    old: str
    new: str
    ink: Ink = "text"


class Figure(NamedTuple):
    """A column of the members' figures."""

    title: str
    told: Callable[[Part], str]


FIGURES = (
    Figure("weight", lambda part: f"{part.share.weight * 100:.0f} %" if part.share else NOTHING),
    Figure("cosine", lambda part: f"{part.share.cosine:.2f}" if part.share else NOTHING),
    Figure("norm", lambda part: short(part.share.norm) if part.share else NOTHING),
    Figure("pictures", lambda part: NOTHING if part.samples is None else str(part.samples)),
    Figure("loss", lambda part: told_loss(part.lane)),
    Figure("sent", lambda part: seconds(part.lane.sent if part.lane else None)),
)


def difference(view: NodeView, old: Side, new: Side, width: int) -> list[Line]:
    """The facts that differ, the members' figures, and at the end what is the same."""
    name = namer(view)
    rows = facts(view, old, new, name)
    changed = [row for row in rows if row.old != row.new]
    same = [row.name for row in rows if row.old == row.new and row.new != NOTHING]
    room = max(10, min(34, (width - NAME - len(ARROW)) // 2))
    titles = f"round {old.commit.round}", f"round {new.commit.round}"
    lines: list[Line] = [
        ((left("", NAME) + left(titles[0], room + len(ARROW)) + titles[1], "faint"),)
    ]
    lines += [fact_line(row, room) for row in changed]
    lines += people(old, new, name, width)
    lines += [(), heading("Contributions"), *members(view, old, new, name, width)]
    if same:
        lines += [(), *wrapped(f"The same in both: {', '.join(same)}.", width, "muted")]
    return lines


def fact_line(row: Row, room: int) -> Line:
    """A name and two values."""
    return (
        (left(row.name, NAME), "muted"),
        (left(row.old, room), "muted"),
        (ARROW, "faint"),
        (left(row.new, room).rstrip(), row.ink),
    )


def facts(view: NodeView, old: Side, new: Side, name: Name) -> list[Row]:
    """All that two rounds can differ in as a whole."""

    def row(title: str, told: Callable[[Side], str], ink: Ink = "text") -> Row:
        return Row(title, told(old), told(new), ink)

    rows = [
        row("state", lambda side: state_word(side.commit)),
        row("checked", lambda side: checked_word(side.commit, view.id)),
        row("aggregator", lambda side: f"{AGGREGATOR} {name(side.commit.aggregator)}"),
        row("attempts", lambda side: str(side.commit.attempt + 1)),
        row("adapter", lambda side: cut_middle(side.commit.result, HASH)),
        my_loss(old.mine, new.mine),
        row("counted", lambda side: count(len(side.commit.inputs), "contribution")),
        row("left out", lambda side: str(len(side.commit.excluded) or NOTHING)),
        row("signed by", lambda side: count(len(side.commit.signers), "voter")),
        row("round took", lambda side: seconds(side.times.seconds if side.times else None)),
        row("agreeing took", lambda side: seconds(side.commit.seconds)),
        row("evidence", lambda side: evidence(view, side.commit.round, name)),
    ]
    return rows + statistics(old, new)


def my_loss(old: float | None, new: float | None) -> Row:
    """This machine's loss in both, and whether it got better: not everybody knows which way."""
    before, after = loss(old), loss(new)
    if old is None or new is None or before == after:
        return Row("my loss", before, after)
    told: tuple[str, Ink] = ("↓ better", "ok") if new < old else ("↑ worse", "text")
    return Row("my loss", before, f"{after} {told[0]}", told[1])


def statistics(old: Side, new: Side) -> list[Row]:
    """How the two sums came about, where this machine computed them."""

    def row(title: str, told: Callable[[StatisticsView], str]) -> Row:
        found = (old.commit.statistics, new.commit.statistics)
        before, after = (told(each) if each else NOTHING for each in found)
        return Row(title, before, after)

    return [
        row("combined by", lambda found: plain(found.mode)),
        row("weights by", lambda found: plain(found.rule) or NOTHING),
        row("FedAvg loses", lambda found: percent(found.residual_share)),
        row("kept before", lambda found: percent(found.previous)),
        row("size in", lambda found: size(found.bytes_in)),
        row("size out", lambda found: size(found.bytes_out)),
    ]


def people(old: Side, new: Side, name: Name, width: int) -> list[Line]:
    """Who signs now and did not before, and the other way round."""
    before, after = set(old.commit.signers), set(new.commit.signers)
    lines: list[Line] = []
    for title, peers in (("signs now", after - before), ("signed then", before - after)):
        if peers:
            told = listed(name(peer) for peer in sorted(peers))
            rows = wrapped(told, max(8, width - NAME - 1))
            for i, row in enumerate(rows):
                lines.append(((left(title if i == 0 else "", NAME), "muted"), *row))
    return lines


def members(view: NodeView, old: Side, new: Side, name: Name, width: int) -> list[Line]:
    """Each contribution then and now, in the order of every list: me first."""
    before, after = old.parts, new.parts
    if not before and not after:
        return wrapped("Nobody contributed to either.", width, "muted")
    order = [peer.id for peer in sorted(view.peers, key=lambda peer: not peer.me)]
    everybody = [peer for peer in order if peer in before or peer in after]
    everybody += sorted((before.keys() | after.keys()).difference(everybody))
    room = max(MEMBER[0], min(MEMBER[1], width // 4))
    figures = FIGURES[: max(1, (width - room) // (PAIR + 1))]
    heads = "".join(" " + right(figure.title, PAIR) for figure in figures)
    lines: list[Line] = [((" " * room + heads, "faint"),)]
    for peer in everybody:
        one, other = before.get(peer), after.get(peer)
        spans: list[tuple[str, Ink]] = [(left(name(peer), room), "text")]
        for figure in figures:
            a = figure.told(one) if one else NOTHING
            b = figure.told(other) if other else NOTHING
            spans += [(" ", "text"), *pair(a, b)]
        lines.append(tuple(spans))
        lines += notes(one, other, old.commit.round, new.commit.round, width)
    return lines


def pair(old: str, new: str) -> Line:
    """Two figures; one where they are the same."""
    if old == new:
        return ((right(new, PAIR), "muted"),)
    return ((right(old, FIGURE), "muted"), (ARROW, "faint"), (right(new, FIGURE), "strong"))


def notes(one: Part | None, other: Part | None, then: int, now: int, width: int) -> list[Line]:
    """Who came, who went, whose contribution was left out."""
    told: list[tuple[str, Ink]] = []
    if one is None:
        told.append((f"not in round {then}", "muted"))
    if other is None:
        told.append((f"not in round {now}", "muted"))
    for part, number in ((one, then), (other, now)):
        if part and part.excluded:
            told.append((f"✗ left out of round {number}: {plain(part.excluded)}", "warning"))
    return [line for text, ink in told for line in indented(text, width, ink)]


def indented(text: str, width: int, ink: Ink) -> Iterable[Line]:
    """A text below a name."""
    return ((("  ", "text"), *row) for row in wrapped(text, width - 3, ink))


def state_word(commit: CommitView) -> str:
    """Committed, or passed over."""
    return "skipped" if commit.skipped else "committed"


def checked_word(commit: CommitView, me: str) -> str:
    """What this machine's own computation said."""
    if commit.recomputed is None:
        return "combined here" if commit.aggregator == me else "not recomputed here"
    return "equal byte for byte" if commit.recomputed else "✗ NOT the same here"


def evidence(view: NodeView, number: int, name: Name) -> str:
    """Who was caught in a round."""
    found = sorted({name(each.accused) for each in view.evidence if each.round == number})
    return listed(found) or NOTHING


def short(value: float) -> str:
    """A number in as many cells as a figure has."""
    text = f"{value:.3g}"
    return text if len(text) <= FIGURE else f"{value:.0e}"


def told_loss(lane: LaneView | None) -> str:
    """What a member said of its training, in the digits it gave."""
    return NOTHING if lane is None or lane.loss is None else f"{lane.loss:.3f}"


def seconds(value: float | None) -> str:
    """A duration."""
    return NOTHING if value is None else f"{value:.1f} s"


def percent(share: float) -> str:
    """A share; nothing where there is none."""
    return f"{share * 100:.1f} %" if share else NOTHING


def size(number: int) -> str:
    """Bytes."""
    return f"{number / 1e6:.2f} MB" if number else NOTHING
