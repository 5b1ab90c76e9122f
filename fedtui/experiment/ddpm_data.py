"""What diffusion from scratch is trained on: pictures with classes, and who reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from fedtui.experiment.federation import HELD_OUT
from trainer.protocol import (
    DigitData,
    JudgeDigits,
    JudgeLandscapes,
    LandscapeData,
    Request,
)


class Data(ABC):
    """A data set. ``side`` is that of the model in pixels, ``pictures`` how many are not held out,
    ``extractor`` what distances are measured with."""

    name: str
    side: int
    pictures: int
    extractor: str
    classes: str
    """How many there are, in words."""
    told: str
    """What the pictures are, for a report."""
    space: str
    """Where distances are measured."""
    judge: str
    """Who reads classes."""
    calls: str
    """What the judge takes everything for."""

    @abstractmethod
    def share(
        self, index: int, participants: int, beta: float, shared: float, seed: int
    ) -> Request:
        """Writes a participant's pictures to its ``folder``."""

    @abstractmethod
    def held_out(self) -> Request:
        """Writes what nobody has."""

    @abstractmethod
    def reads(self, folder: str) -> Request:
        """Reads the classes of drawn pictures."""


class Digits(Data):
    """scikit-learn's handwritten digits."""

    name = "digits"
    side = 8
    pictures = 1433
    extractor = "pixels"
    told = "Real handwritten digits (scikit-learn's, 8 x 8 pixels)"
    classes = "ten"
    space = "in the space of pixels"
    judge = "a support vector machine"
    calls = "a digit"

    def share(
        self, index: int, participants: int, beta: float, shared: float, seed: int
    ) -> Request:
        return DigitData("", index, participants, beta, shared, seed)

    def held_out(self) -> Request:
        return DigitData("", HELD_OUT)

    def reads(self, folder: str) -> Request:
        return JudgeDigits(folder)


class Landscapes(Data):
    """Generated scenes, a class being a time of day over a kind of ground."""

    name = "landscapes"
    side = 16
    pictures = 1440
    extractor = "scenes"
    told = (
        "Generated landscapes (16 x 16 pixels; a class is one of three times of day over one of "
        "four kinds of ground)"
    )
    classes = "twelve"
    space = "by the features of the built-in model's classifier"
    judge = "that classifier"
    calls = "a landscape"

    def share(
        self, index: int, participants: int, beta: float, shared: float, seed: int
    ) -> Request:
        return LandscapeData("", index, participants, beta, shared, seed)

    def held_out(self) -> Request:
        return LandscapeData("", HELD_OUT)

    def reads(self, folder: str) -> Request:
        return JudgeLandscapes(folder)


DIGITS = Digits()
DATA: Mapping[str, Data] = {data.name: data for data in (DIGITS, Landscapes())}
"""All data sets by name, the default first."""
