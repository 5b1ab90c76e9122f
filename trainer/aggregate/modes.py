"""Ways of combining LoRA factors, by name: what members train, and what becomes of the products.

The room's adapter is W = W0 + E + B·A per layer: factors that everybody trains, beside a frozen
residual branch E. A mode says which factors are trained in a round, and where the exact
Σ w_k B_k A_k goes. A new mode is a line in :data:`MODES`; whole weights are in
:mod:`trainer.aggregate.dense`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.protocol import DENSE

Trained = Literal["AB", "A", "B"]
Residual = Literal["dropped", "branch", "restart", "none"]


@dataclass(frozen=True)
class LowRank:
    """A mode on LoRA factors.

    ``trained`` says which factors are trained after so many combinations. ``residual`` is what
    becomes of Σ w_k B_k A_k - B̄ Ā: ``dropped``; added to the ``branch``; with ``restart`` the whole
    Σ w_k B_k A_k goes there and the factors begin anew; ``none`` exists where one factor is shared.
    """

    summary: str
    trained: Callable[[int], Trained]
    residual: Residual


def _both(rounds: int) -> Trained:
    del rounds
    return "AB"


def _only_b(rounds: int) -> Trained:
    del rounds
    return "B"


def _alternating(rounds: int) -> Trained:
    """The first round trains B, which is zero before it."""
    return "A" if rounds % 2 else "B"


LOW_RANK: Mapping[str, LowRank] = {
    "fedex": LowRank("exact: what averaging factors loses is kept beside them", _both, "branch"),
    "fedavg": LowRank(
        "averages A and B; loses what their products had beyond it", _both, "dropped"
    ),
    "stack": LowRank("exact: every round adds its products, factors begin anew", _both, "restart"),
    "ffa": LowRank("exact: A stays as it began, only B is trained and sent", _only_b, "none"),
    "rolora": LowRank("exact: trains and sends B and A in turns", _alternating, "none"),
}

MODES: tuple[str, ...] = (*LOW_RANK, DENSE)
"""All modes by the name a room's plan uses; the first one is the default."""


def trained_factors(mode: str, rounds: int) -> Trained:
    """Which factors a room trains that has combined ``rounds`` times."""
    return LOW_RANK[mode].trained(rounds)
