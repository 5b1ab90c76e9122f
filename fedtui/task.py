"""What a room's plan says about learning: the model, the adapter, the training, the previews.

:class:`p2p.room.Plan` carries it as ``task`` and never looks inside. It holds integers and strings
only, because that is what signed messages may hold: the learning rate in millionths, the guidance
in thousandths.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from fedtui.errors import FedtuiError, TrustError, UsageError
from trainer.protocol import AdapterSpec, DataOptions, RuleSpec

MICRO = 1_000_000
MILLI = 1_000

_OPTIONS = {
    "alpha": "--alpha",
    "bucket_step": "--bucket-step",
    "keep": "--keep-tags",
    "model": "--model",
    "note": "--shared-note",
    "personal": "--personal",
    "prompts": "--prompt",
    "steps": "--steps",
    "trigger": "--trigger",
}
"""Where a person said what a field holds."""
_REASONS = {
    "string_too_long": "it may have {max_length} characters at most",
    "string_too_short": "it is empty",
    "too_long": "it may be given {max_length} times at most",
    "less_than_equal": "{le} at most is possible",
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that are not shown")
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that the first plans did not have."""

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later settings at their defaults, so that a plan that needs none of them keeps
        its bytes, and members of an older version still read it."""
        fields: dict[str, Any] = handler(self)
        kinds = type(self).model_fields
        return {
            name: value
            for name, value in fields.items()
            if name not in self.later or getattr(self, name) != kinds[name].default
        }


class AdapterTask(_Part):
    """Size and place of the LoRA adapter, and how it trains, as
    :class:`trainer.protocol.AdapterSpec` says; the share of inputs left out is in thousandths."""

    later = frozenset({"text_targets", "dropout_milli", "rank_stabilised"})

    rank: Annotated[int, Field(ge=1, le=256)] = 8
    alpha: Annotated[int, Field(ge=1, le=1024)] = 8
    targets: Annotated[list[Text], Field(min_length=1, max_length=32)] = [
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
    ]
    personal: Annotated[list[Text], Field(max_length=32)] = []
    text_targets: Annotated[list[Text], Field(max_length=32)] = []
    dropout_milli: Annotated[int, Field(ge=0, lt=MILLI)] = 0
    rank_stabilised: bool = False

    @property
    def spec(self) -> AdapterSpec:
        return AdapterSpec(
            self.rank,
            self.alpha,
            tuple(self.targets),
            tuple(self.personal),
            tuple(self.text_targets),
            self.dropout_milli / MILLI,
            self.rank_stabilised,
        )


class DataTask(_Part):
    """What every member makes of their pictures, as :class:`trainer.protocol.DataOptions` says;
    the chance of a step without caption is in thousandths.

    Where captions come from, how often a picture counts and masks are each member's own business.
    """

    trigger: Annotated[str, StringConstraints(max_length=100), AfterValidator(_shown)] = ""
    dropout_milli: Annotated[int, Field(ge=0, le=MILLI)] = 0
    shuffle: bool = False
    keep: Annotated[int, Field(ge=0, le=64)] = 0
    buckets: bool = False
    bucket_step: Annotated[int, Field(ge=0, le=4096)] = 0
    crops: Annotated[int, Field(ge=1, le=64)] = 1
    flip: bool = False

    @property
    def options(self) -> DataOptions:
        return DataOptions(
            dropout=self.dropout_milli / MILLI, **self.model_dump(exclude={"dropout_milli"})
        )


class SharedTask(_Part):
    """Pictures that everybody who has them trains on too: their ``sha256`` is
    :attr:`trainer.dataset.Contents.digest`. Their loss counts ``weight_milli`` thousandths of that
    of a member's own; ``note`` says whose they are and under which licence."""

    sha256: Digest
    pictures: Annotated[int, Field(ge=1, le=1_000_000)]
    note: Annotated[str, StringConstraints(max_length=200), AfterValidator(_shown)] = ""
    weight_milli: Annotated[int, Field(ge=1, le=10_000)] = MILLI

    @property
    def weight(self) -> float:
        return self.weight_milli / MILLI


class RuleTask(_Part):
    """How much each contribution counts; the numbers are those of
    :class:`trainer.protocol.RuleSpec`. The mode is the plan's ``algorithm``."""

    later = frozenset({"weiszfeld_steps", "clipping_steps"})

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")] = "n_k"
    cap_milli: Annotated[int, Field(ge=0, le=1_000_000)] = 2_000
    clip_milli: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    byzantine: Annotated[int, Field(ge=0, le=63)] = 1
    threshold_milli: Annotated[int, Field(ge=-1_000, le=1_000)] = 0
    max_staleness: Annotated[int, Field(ge=0, le=1_000)] = 4
    ema_milli: Annotated[int, Field(ge=0, le=999)] = 0
    outer_rate_milli: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    outer_momentum_milli: Annotated[int, Field(ge=0, le=999)] = 0
    weiszfeld_steps: Annotated[int, Field(ge=1, le=10_000)] = 200
    clipping_steps: Annotated[int, Field(ge=1, le=100)] = 3

    @property
    def spec(self) -> RuleSpec:
        return RuleSpec(**self.model_dump())


class PreviewTask(_Part):
    """The pictures everybody draws after each commit: every prompt with every seed."""

    prompts: Annotated[list[Text], Field(min_length=1, max_length=16)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=8)] = [0]
    steps: Annotated[int, Field(ge=1, le=200)] = 20
    guidance_milli: Annotated[int, Field(ge=0, le=50_000)] = 3_000

    @property
    def count(self) -> int:
        """Pictures in one set."""
        return len(self.prompts) * len(self.seeds)

    @property
    def guidance(self) -> float:
        return self.guidance_milli / MILLI


class Task(_Part):
    """All a member needs to train for the room; ``seed`` is the room's, mixed with round and peer.

    ``resolution`` is in pixels of the shorter side; 0 takes the model's own. ``proximal_micro`` is
    FedProx's μ in millionths.
    """

    later = frozenset({"data", "shared"})

    model: Text
    model_sha256: Digest
    adapter: AdapterTask = AdapterTask()
    data: DataTask = DataTask()
    shared: SharedTask | None = None
    rule: RuleTask = RuleTask()
    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    batch: Annotated[int, Field(ge=1, le=512)] = 8
    learning_rate_micro: Annotated[int, Field(ge=1, le=MICRO)] = 1_000
    proximal_micro: Annotated[int, Field(ge=0, le=MICRO)] = 0
    seed: Seed = 0
    resolution: Annotated[int, Field(ge=0, le=4096)] = 0
    preview: PreviewTask

    @property
    def learning_rate(self) -> float:
        return self.learning_rate_micro / MICRO

    @property
    def proximal(self) -> float:
        return self.proximal_micro / MICRO

    def to_plan(self) -> dict[str, Any]:
        """The value of ``Plan.task``."""
        return self.model_dump(mode="json")


def read_task(task: dict[str, Any]) -> Task:
    """The task inside a plan. Raises :class:`FedtuiError` when this version cannot do it."""
    try:
        return Task.model_validate(task)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FedtuiError(
            "the room's plan is not one this version can follow",
            f"{where}: {first['msg']}",
            "update fedtui, or ask the room's admin which version they use",
        ) from error


def refused(error: ValueError) -> UsageError:
    """What a founder wishes for that no plan can say, in words of the command line."""
    if not isinstance(error, ValidationError):
        return UsageError("the room cannot be made like that", str(error))
    first = error.errors(include_url=False)[0]
    fields = [part for part in first["loc"] if isinstance(part, str)]
    option = _OPTIONS.get(fields[-1], ".".join(fields)) if fields else ""
    reason = _REASONS.get(first["type"], "").format(**first.get("ctx", {}))
    return UsageError(
        f"the room cannot be made with this {option}" if option else "there can be no such room",
        reason or first["msg"].removeprefix("Value error, "),
    )


def check_model(task: Task, sha256: str) -> None:
    """Raises :class:`TrustError` when the model on this machine is not the room's."""
    if sha256 != task.model_sha256:
        raise TrustError(
            f"the model {task.model!r} on this machine is not the one of the room",
            f"the room trains {task.model_sha256[:12]}…, here lies {sha256[:12]}…",
            "get the same file as the others; until then this machine only watches",
        )
