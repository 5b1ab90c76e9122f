"""All that a screen, ``fedtui status --json`` or a test may know of a node.

Plain frozen dataclasses of plain values, made by :mod:`fedtui.node` at most four times a second,
sent as JSON over the control socket and read back by :func:`from_json`. Text that came from a peer
has been cleaned (:mod:`p2p.text`) before it gets here, and is still only ever shown as plain text.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Phase = Literal[
    "IDLE", "TRAIN", "COLLECT", "VERIFY", "MERGE", "PREVIEW", "WAITING", "PAUSED", "FAILED", "DONE"
]
PeerState = Literal[
    "LOADING", "READY", "TRAIN", "UPLOAD", "SENT", "IDLE", "WATCH", "SUSPECT", "LOST", "LEFT"
]
Level = Literal["info", "ok", "warning", "error"]


@dataclass(frozen=True)
class PeerView:
    """A member as this node sees it now. Times in seconds, ``rtt_ms`` in milliseconds.

    ``reach``: direct (both ways), one_way, relayed through the member ``via``, or not known.
    ``received`` and ``sent``: bytes of adapters and pictures that came from it and went to it since
    this node started.
    """

    id: str
    name: str
    me: bool = False
    role: str = "participant"
    state: PeerState = "IDLE"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    samples: int | None = None
    images_per_s: float | None = None
    device: str = ""
    address: str = ""
    last_seen_s: float | None = None
    rtt_ms: float | None = None
    aggregator: bool = False
    contributed: bool = False
    voted: bool = False
    reach: str = ""
    via: str = ""
    received: int = 0
    sent: int = 0

    @property
    def short(self) -> str:
        """For eyes only, never for decisions."""
        return f"{self.id[:4]}·{self.id[4:8]}"

    @property
    def progress(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps else 0.0


@dataclass(frozen=True)
class RoundView:
    """The round being worked on. ``order`` lists the peer ids that lead attempt 0, 1, 2, ...;
    ``held``: it waits until somebody starts it."""

    number: int = 0
    rounds: int = 0
    attempt: int = 0
    phase: Phase = "IDLE"
    aggregator: str | None = None
    order: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    quorum: int = 0
    prepares: int = 0
    commits: int = 0
    contributions: int = 0
    expected: int = 0
    elapsed_s: float = 0.0
    deadline_in_s: float | None = None
    waiting_for: tuple[str, ...] = ()
    note: str = ""
    headline: str = ""
    held: bool = False


@dataclass(frozen=True)
class InputView:
    """One contribution of a committed round."""

    peer: str
    samples: int
    blob: str


@dataclass(frozen=True)
class ShareView:
    """What a committed round made of one member's contribution.

    ``norm`` is the size of its update as a product B·A, ``cosine`` its direction against the
    combined update (1 the same, 0 unrelated, below 0 against it), ``weight`` its part in the sum.
    ``clipped`` is the factor it was shortened by, 1 for not at all; ``excluded`` says why it
    counted nothing, empty when it counted.
    """

    peer: str
    samples: int = 0
    bytes: int = 0
    norm: float = 0.0
    cosine: float = 0.0
    weight: float = 0.0
    clipped: float = 1.0
    excluded: str = ""


@dataclass(frozen=True)
class StatisticsView:
    """How a round's result came about, computed by this node when it combined or voted.

    ``residual_share`` is what averaging A and B would have lost: ‖residual‖ / ‖product‖.
    ``previous`` is the weight that stayed with the adapter before (clipping leaves some);
    ``branch_rank`` the largest rank of the frozen branch, ``whole_layers`` how many layers keep it
    as a matrix; ``note`` says why nothing could be combined. ``bytes_in`` are all contributions
    together, ``bytes_out`` the result.
    """

    mode: str = ""
    rule: str = ""
    residual_share: float = 0.0
    previous: float = 0.0
    branch_rank: int = 0
    whole_layers: int = 0
    note: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    shares: tuple[ShareView, ...] = ()


@dataclass(frozen=True)
class CommitView:
    """A ledger entry. ``statistics`` is None where this node did not compute the result."""

    round: int
    value: str
    commit_hash: str
    result: str
    attempt: int
    aggregator: str
    signers: tuple[str, ...] = ()
    inputs: tuple[InputView, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()
    skipped: bool = False
    recomputed: bool | None = None
    seconds: float | None = None
    statistics: StatisticsView | None = None


@dataclass(frozen=True)
class LaneView:
    """When this node learned what of a member's part in a round: seconds after the round opened
    here; None where it did not, or not yet.

    ``trains`` and ``rests`` are when it was first heard training and when it was last, ``rests``
    None while it goes on. ``sent`` is when its contribution became known here, ``checked`` when
    that had been fetched and judged, ``refused`` why it was found wanting; ``agreed`` and
    ``signed`` are its two votes. ``loss`` is what it said of its training.
    """

    peer: str
    trains: float | None = None
    rests: float | None = None
    sent: float | None = None
    checked: float | None = None
    refused: str = ""
    agreed: float | None = None
    signed: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class TimesView:
    """How a round went by this node's clock. ``seconds`` until its commit, None while it is open.
    ``whole``: this node was there when it opened; if not, seconds count from when it came to it.
    ``attempts`` are the moments at which each began, with the peer id of who led it."""

    round: int
    seconds: float | None = None
    whole: bool = True
    attempts: tuple[tuple[float, str], ...] = ()
    lanes: tuple[LaneView, ...] = ()


@dataclass(frozen=True)
class TrafficView:
    """Bytes of adapters and pictures that this node received and sent, from all members together,
    in the newest stretches of ``step_s`` seconds, oldest first; the last one goes on."""

    step_s: float = 0.0
    received: tuple[int, ...] = ()
    sent: tuple[int, ...] = ()


@dataclass(frozen=True)
class EvidenceView:
    """A proof, signed by its author, that ``accused`` broke a rule in a round."""

    round: int
    accused: str
    offence: str


@dataclass(frozen=True)
class PreviewView:
    """A picture from a fixed prompt and seed. ``round`` 0 is the base model before any training.

    ``author`` is the member who drew and gave it; empty for what this machine drew itself.
    """

    round: int
    prompt: str
    seed: int
    path: str
    author: str = ""

    @property
    def moment(self) -> str:
        """When it was drawn, in the words of every screen."""
        return f"after round {self.round}" if self.round else "base model"


@dataclass(frozen=True)
class LossPoint:
    """Mean training loss of this node's steps of a round so far: up to ``step``."""

    round: int
    step: int
    loss: float


@dataclass(frozen=True)
class EventView:
    """One line of the event list. ``ts`` is Unix time in seconds, for showing only."""

    seq: int
    ts: float
    type: str
    text: str
    level: Level = "info"
    peer: str | None = None


@dataclass(frozen=True)
class RequestView:
    """Somebody with an invite who waits to be let in: a person answers yes or no.

    ``words`` stand on the newcomer's screen too. ``namesake`` is the known key that goes by the
    same name, empty if there is none: a reason to be careful. ``waiting_s`` in seconds.
    """

    request: str
    peer: str
    name: str
    role: str
    words: tuple[str, ...]
    fingerprint: str
    address: str
    invite: str
    waiting_s: float
    namesake: str = ""


@dataclass(frozen=True)
class MemberView:
    """A member with what two people compare; ``verified``: somebody here has compared it. ``may``
    lists what it is allowed beside watching: contribute, start rounds, see previews."""

    peer: str
    name: str
    role: str
    me: bool
    verified: bool
    fingerprint: str
    words: tuple[str, ...]
    may: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangeView:
    """A change of the room that waits for the signatures of more admins.

    ``missing`` is how many still have to sign, ``mine`` whether this node has; it is forgotten with
    the commit of ``last_round``.
    """

    id: str
    text: str
    author: str
    signed: tuple[str, ...]
    missing: int
    last_round: int
    mine: bool = False

    @property
    def short(self) -> str:
        """Enough to name it to a command."""
        return self.id[:8]


@dataclass(frozen=True)
class RemovalView:
    """That this machine is no member any more, and the proof: ``operation`` is the change as it was
    signed (JSON), ``signed`` the names of those who did. ``left``: this machine did it itself."""

    text: str
    signed: tuple[str, ...]
    reason: str
    operation: str
    left: bool = False


@dataclass(frozen=True)
class TrainerView:
    """The trainer process. ``state``: off, loading, idle, training, generating, failed."""

    state: str = "off"
    device: str = ""
    pid: int | None = None
    detail: str = ""
    since_s: float = 0.0


@dataclass(frozen=True)
class NodeView:
    """Everything. ``uptime_s`` in seconds; sequences are oldest first. ``discovery`` is on, or off
    and why. ``times`` are those of the open round and of the one before it; the operation
    ``round_times`` tells of earlier ones."""

    id: str = ""
    name: str = ""
    version: str = ""
    role: str = "participant"
    uptime_s: float = 0.0
    room_id: str = ""
    room_name: str = ""
    model: str = ""
    algorithm: str = ""
    rule: str = ""
    rule_options: tuple[str, ...] = ()
    shared: str = ""
    dataset: str = ""
    dataset_note: str = ""
    head: str = ""
    adapter: str | None = None
    round: RoundView = field(default_factory=RoundView)
    trainer: TrainerView = field(default_factory=TrainerView)
    peers: tuple[PeerView, ...] = ()
    losses: tuple[LossPoint, ...] = ()
    previews: tuple[PreviewView, ...] = ()
    commits: tuple[CommitView, ...] = ()
    events: tuple[EventView, ...] = ()
    requests: tuple[RequestView, ...] = ()
    changes: tuple[ChangeView, ...] = ()
    removal: RemovalView | None = None
    evidence: tuple[EvidenceView, ...] = ()
    discovery: str = ""
    notice: str = ""
    times: tuple[TimesView, ...] = ()
    traffic: TrafficView = field(default_factory=TrafficView)

    @property
    def combines_by(self) -> str:
        """The room's algorithm, its rule and the rule's numbers in one line."""
        if not self.rule:
            return self.algorithm
        numbers = f" ({', '.join(self.rule_options)})" if self.rule_options else ""
        return f"{self.algorithm}, weights by {self.rule}{numbers}"

    @property
    def busy(self) -> bool:
        """True when ending this node now would interrupt a round."""
        return bool(self.room_id) and self.round.phase not in ("IDLE", "DONE")


T = TypeVar("T")


def to_json(view: object) -> dict[str, Any]:
    """A view as plain JSON values."""
    if not is_dataclass(view) or isinstance(view, type):
        raise TypeError(f"{view!r} is no view")
    return asdict(view)


def from_json(kind: type[T], data: dict[str, Any]) -> T:
    """Reads a view back, leaving out keys this version does not know (an older or newer node)."""
    hints = _hints(cast("Any", kind))
    return kind(**{k: _build(hints[k], v) for k, v in data.items() if k in hints})


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of a view's fields: evaluating them anew for 30 members four times a second took
    more of a core than drawing them."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _build(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if value is None:
        return None
    if origin in (Union, UnionType):
        return _build(next(a for a in get_args(hint) if a is not type(None)), value)
    if origin is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], item) for item in value)
        return tuple(_build(a, item) for a, item in zip(args, value, strict=True))
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    return value
