"""What the gossip core knows of a member, and what it asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2p.addresses import Address
from p2p.gossip.hello import Hello
from p2p.gossip.rumours import Statement


class Liveness(StrEnum):
    """How a peer looks from here. ``unreachable`` means: for me, for now."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    LEFT = "left"


PRESENT: Final = frozenset({Liveness.ALIVE, Liveness.SUSPECT})
"""A suspect counts as there until its time is up."""


@dataclass(frozen=True)
class PeerHealth:
    """What is known of one member. Times are monotonic seconds of this machine.

    ``hello`` is its newest Hello, ``heard`` when anything new from it last arrived, over
    whomever. ``rtt`` is the round-trip time of the last answered probe in seconds, ``failures``
    how many probes of ours failed since the last answer, ``called`` when it last reached us
    without a relay.
    """

    peer_id: str
    state: Liveness = Liveness.UNREACHABLE
    since: float = 0.0
    heard: float | None = None
    rtt: float | None = None
    failures: int = 0
    called: float | None = None
    hello: Hello | None = None


@dataclass(frozen=True)
class Probe:
    """Send the packet to the peer; report its answer (``on_packet``) or the lack of one."""

    peer_id: str
    packet: tuple[Statement, ...]
    timeout: float


@dataclass(frozen=True)
class ProbeThrough:
    """Ask ``helper`` to probe the peer; report what it says (``on_witness``)."""

    peer_id: str
    helper: str
    timeout: float


@dataclass(frozen=True)
class StateChanged:
    peer_id: str
    before: Liveness
    after: Liveness


@dataclass(frozen=True)
class HeadSeen:
    """A member says how far it is; sent for every Hello that is news."""

    peer_id: str
    round: int


@dataclass(frozen=True)
class Located:
    """A member says where it may be reached."""

    peer_id: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Witnessed:
    """``helper`` reaches a member that does not answer us: it could relay."""

    peer_id: str
    helper: str


@dataclass(frozen=True)
class Woke:
    """This machine slept or was starved for ``seconds``: its connections are probably dead."""

    seconds: float


Effect = Probe | ProbeThrough | StateChanged | HeadSeen | Located | Witnessed | Woke
