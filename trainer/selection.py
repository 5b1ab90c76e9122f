"""What is trained on at which step: views of pictures and wordings of captions.

Everything that may be met is listed beforehand, so that all of it can be encoded once and kept;
which of it comes when is a pure function of (run, round, node, step). So caching and shuffling live
together, and resuming needs no memory of what was drawn before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from trainer import buckets, captions, dataset, pictures
from trainer.buckets import Size
from trainer.config import MAX_CROPS, MAX_REPEATS
from trainer.dataset import Contents, Picture
from trainer.errors import MISUSE, NO_USABLE, TrainerError
from trainer.protocol import DataOptions

if TYPE_CHECKING:
    import torch

DROPPED = -1
"""Instead of a wording: the picture comes without its caption."""


@dataclass(frozen=True)
class View:
    """A part of a picture as a network sees it: ``size`` pixels, cut at ``position``.

    ``position`` is a share of the overhang to the right and below; None is the middle square.
    """

    size: Size
    position: tuple[float, float] | None = None
    mirrored: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Names the view among those of its picture."""
        width, height = self.size
        place = "{:.4f},{:.4f}".format(*self.position) if self.position else "centre"
        return f"{width}x{height}", place, "mirrored" if self.mirrored else "plain"

    def of(self, image: Image.Image) -> Image.Image:
        """This part of a picture or of its mask."""
        if self.position is None:
            part = pictures.squared(image, self.size[0])
        else:
            part = pictures.cut_out(image, buckets.placed(image.size, self.size, self.position))
        return ImageOps.mirror(part) if self.mirrored else part


@dataclass(frozen=True)
class Entry:
    """A picture with everything that training may see of it; all ``views`` have one size."""

    picture: Picture
    views: tuple[View, ...]
    wordings: tuple[str, ...]
    repeats: int

    @property
    def size(self) -> Size:
        return self.views[0].size


@dataclass(frozen=True)
class Choice:
    """Which view and wording of which entry; a wording may be DROPPED."""

    entry: int
    view: int
    wording: int


@dataclass(frozen=True)
class Selection:
    """All entries of a folder, and the choices among them."""

    folder: Path
    entries: tuple[Entry, ...]
    options: DataOptions

    @classmethod
    def of(
        cls,
        contents: Contents,
        options: DataOptions,
        resolution: int,
        side_step: int = buckets.SIDE_STEP,
    ) -> Selection:
        """Lists what may be met; sides are multiples of ``side_step`` pixels.

        Raises :class:`TrainerError` for impossible options, and when nothing is left.
        """
        check(options, resolution, side_step)
        step = options.bucket_step or buckets.default_step(resolution, side_step)
        square = (resolution, resolution)
        among = buckets.sizes(resolution, step) if options.buckets else (square,)
        entries = []
        for picture in contents.pictures:
            size = buckets.nearest(picture.width, picture.height, among)
            repeats = options.repeats * (_folder_repeats(picture) if options.folder_repeats else 1)
            if repeats:
                entries.append(
                    Entry(
                        picture,
                        tuple(_views(picture, size, options)),
                        captions.variants(picture.caption, options),
                        repeats,
                    )
                )
        if contents.pictures and not entries:
            raise TrainerError(
                "There are no pictures to train on",
                f"All {len(contents.pictures)} lie in folders that count them 0 times.",
                "Rename such a folder: the number before its first _ says how often.",
                NO_USABLE,
            )
        return cls(contents.folder, tuple(entries), options)

    @property
    def buckets(self) -> dict[Size, int]:
        """Pictures per size, repeats left out."""
        return dict(Counter(entry.size for entry in self.entries))

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every text that training may meet, sorted."""
        dropped = {""} if self.options.dropout else set()
        return tuple(sorted({text for e in self.entries for text in e.wordings} | dropped))

    @property
    def pass_length(self) -> int:
        """Pictures in one pass over the data, repeats counted."""
        return sum(entry.repeats for entry in self.entries)

    def choices(
        self, size: int, number: int, seed: int, round: int, node: str, kind: str = "order"
    ) -> tuple[Choice, ...]:
        """The batch called ``number``: ``size`` choices of one bucket.

        Every pass over the data has its own order and uses each picture as often as it repeats.
        With one bucket a batch may reach into the next pass; with several the last batch of each
        is filled up from its own beginning. ``kind`` keeps the orders of data sets apart.
        """
        place = (kind, seed, round, node)
        groups: dict[Size, list[int]] = {}
        for index, entry in enumerate(self.entries):
            groups.setdefault(entry.size, []).extend([index] * entry.repeats)
        if len(groups) == 1:
            (group,) = groups.values()
            picked = [group[n] for n in stream(len(group), size, number, place)]
        else:
            picked = _from_buckets(list(groups.values()), size, number, place)
        varied = self.options.dropout > 0 or any(
            len(self.entries[n].views) > 1 or len(self.entries[n].wordings) > 1 for n in picked
        )
        if not varied:
            return tuple(Choice(index, 0, 0) for index in picked)
        import torch

        draw = _generator("choice", *place, number)
        rows = torch.rand((size, 3), generator=draw, dtype=torch.float64).tolist()
        return tuple(self._choice(n, *row) for n, row in zip(picked, rows, strict=True))

    def _choice(self, index: int, view: float, wording: float, drop: float) -> Choice:
        """``view``, ``wording`` and ``drop`` are uniform in [0, 1)."""
        entry = self.entries[index]
        text = DROPPED if drop < self.options.dropout else int(wording * len(entry.wordings))
        return Choice(index, int(view * len(entry.views)), text)

    def text(self, choice: Choice) -> str:
        """The caption that a choice comes with."""
        wordings = self.entries[choice.entry].wordings
        return "" if choice.wording == DROPPED else wordings[choice.wording]

    def image(self, choice: Choice) -> Image.Image:
        """The picture as the network sees it. Raises :class:`TrainerError` when it changed."""
        entry = self.entries[choice.entry]
        return entry.views[choice.view].of(dataset.load(entry.picture, self.folder))


def check(options: DataOptions, resolution: int, side_step: int = buckets.SIDE_STEP) -> None:
    """Raises :class:`TrainerError` for options that contradict themselves."""
    cause = ""
    if not 0.0 <= options.dropout <= 1.0:
        cause = f"A caption dropout of {options.dropout}; 0 to 1 is possible."
    elif not 0.0 <= options.unmasked <= 1.0:
        cause = f"A weight of {options.unmasked} outside the mask; 0 to 1 is possible."
    elif not 1 <= options.repeats <= MAX_REPEATS:
        cause = f"{options.repeats} repeats; 1 to {MAX_REPEATS} are possible."
    elif not 1 <= options.crops <= MAX_CROPS:
        cause = f"{options.crops} crops; 1 to {MAX_CROPS} are possible."
    elif options.keep < 0 or (options.keep and not options.shuffle):
        cause = "Tags are kept in their place, but none are shuffled."
    elif options.bucket_step % side_step or not 0 <= options.bucket_step <= resolution:
        cause = (
            f"Buckets {options.bucket_step} pixels apart; multiples of {side_step} are possible."
        )
    elif options.bucket_step and not options.buckets:
        cause = "A distance between buckets is given, but pictures are cut to squares."
    if cause:
        raise TrainerError("The data options are impossible", cause, "Correct them.", MISUSE)


def _views(picture: Picture, size: Size, options: DataOptions) -> Iterator[View]:
    """The middle first, then places that follow from the picture's pixels alone."""
    places: list[tuple[float, float] | None] = [(0.5, 0.5) if options.buckets else None]
    for number in range(1, options.crops):
        draw = Random(f"{picture.sha256}\0{number}")
        places.append((round(draw.random(), 4), round(draw.random(), 4)))
    for place in places:
        yield View(size, place)
        if options.flip:
            yield View(size, place, mirrored=True)


def _folder_repeats(picture: Picture) -> int:
    """The number in front of a folder's name, as kohya's tools read it; 1 without one."""
    number, underscore, _ = Path(picture.file).parent.name.partition("_")
    return min(int(number), MAX_REPEATS) if underscore and number.isdecimal() else 1


Place = tuple[str, int, int, str]


def stream(count: int, size: int, number: int, place: Place) -> Iterator[int]:
    """Positions of an endless stream of passes, each in an order of its own."""
    orders: dict[int, list[int]] = {}
    for position in range(number * size, (number + 1) * size):
        pass_number, at = divmod(position, count)
        if pass_number not in orders:
            orders[pass_number] = _order(count, *place, pass_number)
        yield orders[pass_number][at]


def _from_buckets(groups: list[list[int]], size: int, number: int, place: Place) -> list[int]:
    counts = [math.ceil(len(group) / size) for group in groups]
    pass_number, at = divmod(number, sum(counts))
    slots = [(b, k) for b, count in enumerate(counts) for k in range(count)]
    bucket, chunk = slots[_order(len(slots), "batches", *place, pass_number)[at]]
    group = groups[bucket]
    order = _order(len(group), *place, pass_number, bucket)
    return [group[order[n % len(order)]] for n in range(chunk * size, (chunk + 1) * size)]


def _order(count: int, *parts: str | int) -> list[int]:
    import torch

    order: list[int] = torch.randperm(count, generator=_generator(*parts)).tolist()
    return order


def _generator(*parts: str | int) -> torch.Generator:
    """torch is needed when choices are made, not when they are listed."""
    from trainer.seeds import generator

    return generator(*parts)
