"""What goes over the pipes of a trainer process: bounded JSON lines, nothing else.

A parent writes requests and commands to the worker's stdin and reads messages from its stdout, one
JSON object a line. Large things pass as file paths. Every request ends in exactly one
:class:`Done` or :class:`Failed`; between them come :class:`Progress` messages. stderr is a log.

Two roles share this protocol. ``python -m trainer`` loads torch and takes every request;
``python -m trainer --role arithmetic`` never imports torch, runs under a memory limit and takes
only the requests marked *arithmetic*: it reads files that strangers made.

This package imports nothing but the standard library.
"""

from __future__ import annotations

from trainer.protocol.adapters import (
    ExportAdapter,
    InspectAdapter,
    RestoreAdapter,
)
from trainer.protocol.combining import (
    ALGORITHMS,
    CARRYING,
    RULES,
    CheckBlob,
    Combine,
    CombineAdapters,
    PoisonData,
    RuleSpec,
    Tamper,
    WeightedFile,
)
from trainer.protocol.conversation import (
    VERSION,
    Cancel,
    Done,
    Failed,
    Message,
    Progress,
    Ready,
    Request,
    Steer,
    Stop,
    Wish,
)
from trainer.protocol.data import (
    LEFT_OUT,
    MAX_CAPTION_BYTES,
    MAX_CAPTION_LENGTH,
    MAX_LEFT_OUT_BYTES,
    METADATA,
    SIDECARS,
    TABLES,
    CheckData,
    DataOptions,
    DigitData,
    GatherPictures,
    LandscapeData,
    PreviewData,
    SampleData,
    SplitData,
)
from trainer.protocol.drawing import (
    ContactSheet,
    Generate,
    LoraFile,
    SheetRow,
    Shot,
)
from trainer.protocol.measuring import (
    DrawnPicture,
    Evaluate,
    JudgeDigits,
    JudgeLandscapes,
    JudgeScenes,
    MeasureClip,
    MeasureSet,
    ProbeLeak,
)
from trainer.protocol.models import (
    Describe,
    ExportWhole,
    FetchModel,
    GraftWhole,
    ImportModel,
    InitWhole,
    ListModels,
    Load,
    MeasureDownload,
    NewModel,
)
from trainer.protocol.training import (
    ATTENTION,
    CONVOLUTIONS,
    DENSE,
    TEXT_ATTENTION,
    AdapterSpec,
    InitAdapter,
    Samples,
    Train,
    Tuning,
)
from trainer.protocol.wire import (
    MAX_LINE,
    WireError,
    decode_message,
    decode_request,
    encode_message,
    encode_request,
)

__all__ = [
    "ALGORITHMS",
    "ARITHMETIC",
    "ATTENTION",
    "CARRYING",
    "CONVOLUTIONS",
    "DENSE",
    "LEFT_OUT",
    "MAX_CAPTION_BYTES",
    "MAX_CAPTION_LENGTH",
    "MAX_LEFT_OUT_BYTES",
    "MAX_LINE",
    "METADATA",
    "RULES",
    "SIDECARS",
    "TABLES",
    "TEXT_ATTENTION",
    "VERSION",
    "AdapterSpec",
    "Cancel",
    "CheckBlob",
    "CheckData",
    "Combine",
    "CombineAdapters",
    "ContactSheet",
    "DataOptions",
    "Describe",
    "DigitData",
    "Done",
    "DrawnPicture",
    "Evaluate",
    "ExportAdapter",
    "ExportWhole",
    "Failed",
    "FetchModel",
    "GatherPictures",
    "Generate",
    "GraftWhole",
    "ImportModel",
    "InitAdapter",
    "InitWhole",
    "InspectAdapter",
    "JudgeDigits",
    "JudgeLandscapes",
    "JudgeScenes",
    "LandscapeData",
    "ListModels",
    "Load",
    "LoraFile",
    "MeasureClip",
    "MeasureDownload",
    "MeasureSet",
    "Message",
    "NewModel",
    "PoisonData",
    "PreviewData",
    "ProbeLeak",
    "Progress",
    "Ready",
    "Request",
    "RestoreAdapter",
    "RuleSpec",
    "SampleData",
    "Samples",
    "SheetRow",
    "Shot",
    "SplitData",
    "Steer",
    "Stop",
    "Tamper",
    "Train",
    "Tuning",
    "WeightedFile",
    "WireError",
    "Wish",
    "decode_message",
    "decode_request",
    "encode_message",
    "encode_request",
]

ARITHMETIC: frozenset[type[Request]] = frozenset(
    {
        Describe,
        ListModels,
        MeasureDownload,
        FetchModel,
        CheckData,
        SampleData,
        SplitData,
        InitAdapter,
        CheckBlob,
        Combine,
        CombineAdapters,
        RestoreAdapter,
        ExportAdapter,
        InspectAdapter,
        ContactSheet,
    }
)
"""What the torch-free role takes."""
