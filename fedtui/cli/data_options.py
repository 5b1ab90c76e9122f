"""What training makes of a folder: the options that ``train`` and ``data check`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.errors import UsageError

if TYPE_CHECKING:
    from trainer.protocol import DataOptions

PANEL = "Pictures and captions"


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL, **more)


NameCaptions = Annotated[
    bool, _option("--name-captions", help="Take a file's name where it has no other caption.")
]
CaptionLines = Annotated[
    bool, _option("--caption-lines", help="Each line of a text file is a caption of its own.")
]
Trigger = Annotated[str, _option("--trigger", help="A word put before every caption.")]
CaptionDropout = Annotated[
    float,
    _option("--caption-dropout", min=0.0, max=1.0, help="Chance of a step without its caption."),
]
ShuffleTags = Annotated[
    bool, _option("--shuffle-tags", help="Mix the parts of captions between commas.")
]
KeepTags = Annotated[int, _option("--keep-tags", min=0, help="Tags that stay at the front.")]
Repeats = Annotated[int, _option("--repeats", min=1, help="Times each picture counts.")]
FolderRepeats = Annotated[
    bool, _option("--folder-repeats", help="Pictures in a folder 10_name count ten times.")
]
Buckets = Annotated[
    bool, _option("--buckets", help="Keep the shapes of pictures instead of cutting squares.")
]
BucketStep = Annotated[
    int, _option("--bucket-step", min=0, help="Pixels between two sizes; 0 chooses.")
]
Crops = Annotated[
    int, _option("--crops", min=1, max=64, help="Places that pictures are cut out at.")
]
Flip = Annotated[bool, _option("--flip", help="Mirror a picture every second time.")]
Masks = Annotated[
    str, _option("--masks", help="off, files (NAME-masklabel.png) or alpha (transparency).")
]
Unmasked = Annotated[
    float, _option("--unmasked", min=0.0, max=1.0, help="What counts where a mask is black.")
]


def chosen(masks: str, **values: Any) -> DataOptions:
    """The options as the trainer takes them. Raises :class:`UsageError`."""
    from trainer.protocol import DataOptions

    if masks not in ("off", "files", "alpha"):
        raise UsageError(f"there are no masks {masks!r}", remedy="one of off, files, alpha")
    return DataOptions(masks=masks, **values)  # type: ignore[arg-type]
