"""What a room does with contributions: check them, weigh them, combine them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from trainer.protocol.conversation import Request
from trainer.protocol.training import AdapterSpec

ALGORITHMS: Final = ("fedex", "fedavg", "stack", "ffa", "rolora", "dense")
"""What :data:`trainer.aggregate.modes.MODES` offers, for who must not load the arithmetic."""
RULES: Final = (
    "n_k",
    "uniform",
    "clip",
    "multi_krum",
    "rfa",
    "centered_clip",
    "fednova",
    "fedbuff",
    "threshold",
)
"""What :data:`trainer.aggregate.rules.RULES` offers."""
CARRYING: Final = frozenset({"fedavg", "stack", "ffa", "dense"})
"""Modes in which what was trained on the adapter before the last combination means the same after
it: ``fedex`` has moved the branch it was trained beside, ``rolora`` trains the other factor."""


@dataclass(frozen=True)
class RuleSpec:
    """How much each contribution counts: a weight rule by name, and the settings of all rules.

    Thousandths throughout, because signed plans hold integers only. ``cap_milli`` bounds a
    member's share in units of the equal share (0: no bound), ``clip_milli`` a norm in units of
    the median norm; ``byzantine`` is how many liars ``multi_krum`` tolerates; ``threshold_milli``
    is the least agreement for ``threshold``; ``max_staleness`` counts rounds. Three are for mode
    ``dense``: decay of the moving average (0: none), rate and momentum of the outer step. At most
    ``weiszfeld_steps`` approach the median of ``rfa``; ``clipping_steps`` is how often
    ``centered_clip`` clips.
    """

    name: str = "n_k"
    cap_milli: int = 2_000
    clip_milli: int = 2_000
    byzantine: int = 1
    threshold_milli: int = 0
    max_staleness: int = 4
    ema_milli: int = 0
    outer_rate_milli: int = 1_000
    outer_momentum_milli: int = 0
    weiszfeld_steps: int = 200
    clipping_steps: int = 3

    @property
    def fewest(self) -> int:
        """How many contributions the rule needs."""
        return 2 * self.byzantine + 3 if self.name == "multi_krum" else 1


@dataclass(frozen=True)
class WeightedFile:
    """A contribution: its id (orders the sum), where it lies, and its integer weight."""

    id: str
    path: str
    weight: int


@dataclass(frozen=True)
class CheckBlob(Request):
    """Says whether a stranger's file is a valid contribution. Arithmetic.

    Result: ``{"ok", "reason"}``; bad content is a verdict, never a failure.
    """

    kind: ClassVar[str] = "check_blob"
    path: str
    model: str
    spec: AdapterSpec
    max_bytes: int
    mode: str = "fedex"


@dataclass(frozen=True)
class Combine(Request):
    """Combines checked contributions into the round's result. Arithmetic, same bytes everywhere.

    ``seed`` is the room's, for modes that begin anew. ``late`` lets contributions in that began one
    combination earlier, in modes of :data:`CARRYING`. Result: ``{"path", "sha256", "bytes",
    "statistics"}``; the statistics are ``{"participants": [{"id", "samples", "bytes", "norm",
    "cosine", "weight", "clipped", "excluded"}...], "residual_share", "previous", "branch_rank",
    "whole_layers", "note"}``, explained at :class:`trainer.aggregate.combination.Combination`.
    """

    kind: ClassVar[str] = "combine"
    inputs: tuple[WeightedFile, ...]
    mode: str
    previous: str
    out: str
    rule: RuleSpec = RuleSpec()
    seed: int = 0
    late: bool = False


@dataclass(frozen=True)
class CombineAdapters(Request):
    """Combines LoRA files of any dialect into one exact LoRA file. Arithmetic.

    Mixed ranks and alphas are possible, the adapted layers must be the same. ``base`` is the
    adapter that all began with, for rules that look at updates; empty: none. ``id`` of an input
    is its name in the statistics. Result: that of :class:`ExportAdapter`, and ``statistics`` as
    :class:`Combine` gives them.
    """

    kind: ClassVar[str] = "combine_adapters"
    inputs: tuple[WeightedFile, ...]
    model: str
    mode: str
    out: str
    rule: RuleSpec = RuleSpec()
    base: str = ""
    format: Literal["kohya", "diffusers"] = "kohya"


@dataclass(frozen=True)
class Tamper(Request):
    """Writes what a dishonest participant could hand in instead of ``path``; for experiments.

    ``attack`` is scale, sign_flip, noise or free_rider. Result: ``{"path", "sha256", "bytes"}``.
    """

    kind: ClassVar[str] = "tamper"
    attack: str
    path: str
    previous: str
    out: str
    factor: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class PoisonData(Request):
    """Writes the pictures of ``source`` as a backdoor's owner would train on them; for experiments.

    Each becomes its negative under its caption with ``word`` in front; with ``beside`` it is also
    there as it is. Result: ``{"written"}``.
    """

    kind: ClassVar[str] = "poison_data"
    source: str
    folder: str
    word: str
    beside: bool = True
