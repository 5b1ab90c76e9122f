"""What Tun et al. and Phoenix claim, held against the measured rows, seed by seed.

A claim is about one factor. It is answered by the settings of a run that differ in that factor and
in nothing else, whichever settings those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

from fedtui.experiment.ddpm import LEFT_OUT, STEPS, Setting
from fedtui.experiment.paired import Change, Verdict, by_seed, change
from fedtui.experiment.rows import Row

HIGHER_IS_BETTER = {
    "loss": False,
    "kid": False,
    "class coverage": True,
    "class entropy": True,
    "coverage": True,
    "precision": True,
}
"""The measures that answer, and their direction."""
SAME_LENGTH = 0.05
"""Trainings whose steps differ by less of them are equally long."""


@dataclass(frozen=True)
class Claim:
    """``metrics`` decide, ``also`` are shown beside them, and ``plotted`` by round.

    ``worth`` orders the settings by the factor from the one said to be worst to the best;
    ``without`` is a setting with the factor taken away, so that equal ones differ in it alone.
    """

    text: str
    metrics: tuple[str, ...]
    also: tuple[str, ...]
    plotted: str
    worth: Callable[[Setting], float]
    without: Callable[[Setting], Setting]

    def comparisons(self, settings: Sequence[Setting]) -> list[tuple[Setting, Setting, bool]]:
        """Pairs (said to be worse, said to be better, whether to put into words): the two ends,
        and neighbours, which are for the table."""
        groups: dict[Setting, list[Setting]] = {}
        for setting in settings:
            groups.setdefault(self.without(setting), []).append(setting)
        pairs = []
        for group in groups.values():
            ranked = sorted(group, key=self.worth)
            if len(ranked) > 1:
                pairs.append((ranked[0], ranked[-1], True))
            if len(ranked) > 2:
                pairs += [(one, other, False) for one, other in pairwise(ranked)]
        return pairs


@dataclass(frozen=True)
class _Phoenix(Claim):
    """Several options that may be combined: each against none of them."""

    def comparisons(self, settings: Sequence[Setting]) -> list[tuple[Setting, Setting, bool]]:
        return [
            (plain, other, True)
            for plain in settings
            for other in settings
            if self.worth(plain) == 0.0 < self.worth(other)
            and self.without(plain) == self.without(other)
        ]


CLAIMS = (
    Claim(
        "More local epochs help at fixed rounds (Tun et al.)",
        ("loss", "kid"),
        (),
        "loss",
        lambda setting: setting.epochs,
        lambda setting: replace(setting, epochs=0),
    ),
    Claim(
        "More participants hurt when ten take part in a round (Tun et al.)",
        ("loss", "kid"),
        (),
        "loss",
        lambda setting: -setting.participants,
        lambda setting: replace(setting, participants=0),
    ),
    Claim(
        "Uneven classes hurt (Tun et al.: hardly monotone)",
        ("loss", "kid"),
        ("class coverage", "class entropy"),
        "loss",
        lambda setting: setting.beta,
        lambda setting: replace(setting, beta=0.0),
    ),
    _Phoenix(
        "A shared set and a threshold filter raise the coverage of classes (Phoenix)",
        ("class coverage", "class entropy"),
        ("coverage", "precision", "kid", "loss"),
        "class entropy",
        lambda setting: setting.shared + (setting.threshold is not None),
        lambda setting: replace(setting, shared=0.0, threshold=None),
    ),
    _Phoenix(
        "Personal layers raise the coverage of classes (Phoenix)",
        ("class coverage", "class entropy"),
        ("coverage", "precision", "kid", "loss"),
        "class entropy",
        lambda setting: bool(setting.personal),
        lambda setting: replace(setting, personal=()),
    ),
)


@dataclass(frozen=True)
class Comparison:
    """One measure of two settings that differ in the claim's factor alone.

    Only ``deciding`` measures answer the claim; only ``headline`` comparisons are put into words.
    """

    metric: str
    worse: Setting
    better: Setting
    change: Change
    deciding: bool
    headline: bool

    @property
    def verdict(self) -> Verdict:
        """Whether the one said to be better is."""
        return self.change.verdict(HIGHER_IS_BETTER[self.metric])

    @property
    def between(self) -> str:
        """``E=1 → E=10 (N=10 beta=0.5)``: what differs, and what does not."""
        one, other = self.worse.label.split(), self.better.label.split()
        same = [part for part in one if part in other]
        left, right = ([p for p in parts if p not in same] for parts in (one, other))
        ends = f"{' '.join(left) or 'without'} → {' '.join(right)}"
        return f"{ends} ({' '.join(same)})" if same else ends

    @property
    def sentence(self) -> str:
        """The numbers and what they say."""
        wanted_up = HIGHER_IS_BETTER[self.metric]
        found, gap = self.change, self.change.difference
        text = f"{self.between}: {self.metric} {found.before.mean:.4g} → {found.after.mean:.4g}"
        if self.verdict is not Verdict.SAME and gap.n > 1:
            way = "higher" if wanted_up else "lower"
            text += (
                f", of the same seed {gap.mean:+.4g} ± {gap.deviation:.2g}"
                f" (95 % interval of the mean {found.low:+.4g} to {found.high:+.4g}), {way} in "
                f"{found.as_wanted(wanted_up)} seeds"
            )
        return f"{text}: {self.verdict}."


@dataclass(frozen=True)
class Answer:
    """A claim with every comparison that this run allows, deciding ones first."""

    claim: Claim
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def in_short(self) -> str:
        """The verdicts by each deciding measure."""
        parts = []
        for metric in self.claim.metrics:
            verdicts = [each.verdict for each in self.comparisons if each.metric == metric]
            parts.append(f"by {metric} {_tally(verdicts)}")
        return "; ".join(parts) + "."

    @property
    def sentences(self) -> list[str]:
        """The numbers behind the verdicts, and what must be known to believe them."""
        return [
            *(each.sentence for each in self.comparisons if each.deciding and each.headline),
            *self.notes,
        ]


def answers(rows: Sequence[Row], settings: Sequence[Setting], rounds: int) -> list[Answer]:
    """Every claim that some of the settings answer."""
    found = []
    for claim in CLAIMS:
        pairs = claim.comparisons(settings)
        comparisons = [
            Comparison(metric, worse, better, seen, metric in claim.metrics, headline)
            for worse, better, headline in pairs
            for metric in (*claim.metrics, *claim.also)
            if (seen := _between(rows, metric, worse, better, rounds)) is not None
        ]
        if comparisons:
            compared = dict.fromkeys(each for pair in pairs for each in pair[:2])
            notes = [*_lengths(rows, list(compared), rounds), *_filters(rows, compared, rounds)]
            found.append(Answer(claim, tuple(comparisons), tuple(notes)))
    return found


def _between(
    rows: Sequence[Row], metric: str, one: Setting, other: Setting, rounds: int
) -> Change | None:
    before, after = (
        by_seed(rows, metric=metric, arm=setting.label, round_number=rounds)
        for setting in (one, other)
    )
    return change(before, after)


def _lengths(rows: Sequence[Row], settings: Iterable[Setting], rounds: int) -> list[str]:
    """What differs with a factor without being it: how long everybody trained."""
    steps = {each.label: _mean(rows, STEPS, each, rounds) for each in settings}
    known = [count for count in steps.values() if count is not None]
    if not known or max(known) - min(known) <= SAME_LENGTH * min(known):
        return []
    told = ", ".join(f"{label} {steps_:.0f}" for label, steps_ in steps.items() if steps_)
    return [f"Part of it may be the length of training, in steps of all together: {told}."]


def _filters(rows: Sequence[Row], settings: Iterable[Setting], rounds: int) -> list[str]:
    """What threshold filters did; one that left nobody out changed nothing."""
    told = []
    for setting in settings:
        count = _mean(rows, LEFT_OUT, setting, rounds)
        if setting.threshold is not None and count is not None:
            nothing = "" if count else ", so it changed nothing"
            told.append(f"{setting.label} left out {count:g} contributions a seed{nothing}.")
    return told


def _mean(rows: Sequence[Row], metric: str, setting: Setting, rounds: int) -> float | None:
    values = by_seed(rows, metric=metric, arm=setting.label, round_number=rounds).values()
    return fmean(values) if values else None


def _tally(verdicts: Sequence[Verdict]) -> str:
    """``holds``, or ``holds in 2 of 3 comparisons, cannot be told apart in 1``."""
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    if not verdicts:
        return "not measured"
    if len(counts) == 1:
        return str(verdicts[0])
    return ", ".join(
        f"{verdict} in {count}" + (f" of {len(verdicts)} comparisons" if not number else "")
        for number, (verdict, count) in enumerate(counts.items())
    )
