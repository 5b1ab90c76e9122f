"""What trains: the factors of an adapter, or every weight of a denoiser."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from torch import nn

from trainer import frozen_text, injection, lora_file, start, tensor_file, whole
from trainer.adapter import MAGNITUDE_SUFFIX, FloatArray
from trainer.aggregate.files import ROUNDS_KEY, STEPS_KEY
from trainer.arithmetic import Result, written
from trainer.errors import MISUSE, TrainerError
from trainer.lora_file import Architecture, LoraAdapter
from trainer.models.base import BaseModel, LoadedModel
from trainer.protocol import DENSE, Train

PARTS = ("part", "former")
"""Endings of the folders that a whole model is written to, and that its forerunner is put aside
to: no folder under the model's own name is ever half one, half the other."""

PREDICTED = {"epsilon": "epsilon", "v_prediction": "v"}
"""modelspec's words."""


class Trainee(ABC):
    """Something to train. It is made, and refuses what cannot be, before a model is loaded.

    ``whole`` says that every weight trains, so that none can lie in lower precision.
    """

    whole: bool

    def __init__(self, request: Train, base: BaseModel) -> None:
        self.request = request
        self.base = base
        folder = request.mode == DENSE and request.export == "diffusers"
        if not folder and Path(request.out).is_dir():
            raise TrainerError(
                "There is no place for the result",
                f"{request.out} is a folder, and what trains is written to a file.",
                "Name a file in it.",
                MISUSE,
            )

    @property
    def speaks(self) -> bool:
        """Whether text encoders train, so that captions are encoded anew at every step."""
        return False

    @abstractmethod
    def decisive(self) -> Iterator[FloatArray]:
        """Every array that decides the course of the training, in a fixed order."""

    @abstractmethod
    def parameters(self, model: LoadedModel) -> AbstractContextManager[dict[str, nn.Parameter]]:
        """What trains, by name; the model is as it was afterwards."""

    @abstractmethod
    def write(self, model: LoadedModel) -> Result:
        """Writes what the model is now; called while :meth:`parameters` is open."""


def of(request: Train, base: BaseModel) -> Trainee:
    """Raises :class:`TrainerError` when the request does not fit the model."""
    return Whole(request, base) if request.mode == DENSE else Adapter(request, base)


class Adapter(Trainee):
    """LoRA factors beside the frozen weights, and a room's frozen branch."""

    whole = False

    def __init__(self, request: Train, base: BaseModel) -> None:
        super().__init__(request, base)
        if request.tuning.dora and request.export != "diffusers":
            raise TrainerError(
                "DoRA cannot be trained like this",
                "Rooms cannot average it, and kohya's files are read with other row lengths.",
                "Write --format diffusers, which diffusers reads exactly, or leave --dora out.",
                MISUSE,
            )
        self.start = start.begin(request, base)
        self.architecture = Architecture.of(base)

    def decisive(self) -> Iterator[FloatArray]:
        for _, array in sorted(self.start.arrays.items()):
            yield array
        for _, branch in sorted(self.start.branches.items()):
            yield from branch.arrays

    @property
    def speaks(self) -> bool:
        return bool(self.request.spec.text_targets)

    @contextmanager
    def parameters(self, model: LoadedModel) -> Iterator[dict[str, nn.Parameter]]:
        factors = self.architecture.by_component(self.start.layers)
        branches = self.architecture.by_component(self.start.branches)
        spec, dora = self.request.spec, self.request.tuning.dora
        frozen = [
            network
            for component, network in model.components.items()
            if self.speaks and component not in factors
        ]
        with (
            injection.attached(model, factors, spec.scale, branches, dora),
            frozen_text.remembered(frozen),
        ):
            named: dict[str, nn.Parameter] = {}
            for component in factors:
                network = model.components[component]
                injection.drop_out(network, spec.dropout)
                for name, parameter in injection.parameters(network).items():
                    named[self.architecture.flat_name(component, name)] = parameter
            trained = {name for name in named if self._trains(name)}
            for name, parameter in named.items():
                parameter.requires_grad_(name in trained)
            yield {name: named[name] for name in sorted(trained)}

    def _trains(self, name: str) -> bool:
        return name in self.start.trained or name.endswith(MAGNITUDE_SUFFIX)

    def write(self, model: LoadedModel) -> Result:
        """What was trained together to ``out``, and what is personal to ``personal``."""
        request, begun = self.request, self.start
        components, scale = self.architecture.by_component(begun.layers), request.spec.scale
        trained = {
            self.architecture.flat_name(component, name): array
            for component in components
            for name, array in injection.extracted(model.components[component], scale).items()
        }
        if request.personal and begun.own:
            own = {name: trained[name] for name in begun.own}
            tensor_file.write(Path(request.personal), own, {ROUNDS_KEY: str(begun.rounds)})
        out = Path(request.out)
        if request.export == "factors":
            sent = {name: trained[name] for name in begun.trained - begun.own}
            notes = {ROUNDS_KEY: str(begun.rounds), STEPS_KEY: str(request.steps)}
            return written(tensor_file.write(out, sent, notes))
        layers = self.architecture.by_component(injection.as_layers(trained))
        made = LoraAdapter(layers, "factors", {})
        return written(lora_file.write(out, made, request.export, self.base, _notes(request, self)))


def _notes(request: Train, what: Adapter) -> dict[str, str]:
    """What interfaces show of an adapter: how it was made, and the word that calls it.

    Nothing that was in the pictures or in their captions.
    """
    side = request.resolution or what.base.resolution
    notes = {
        "steps": str(request.steps),
        "seed": str(request.seed),
        "ss_steps": str(request.steps),
        "ss_seed": str(request.seed),
        "ss_learning_rate": f"{request.learning_rate:g}",
        "ss_resolution": f"({side}, {side})",
        "modelspec.resolution": f"{side}x{side}",
    }
    if short := PREDICTED.get(what.base.prediction):
        notes["modelspec.prediction_type"] = short
    trigger = request.data.trigger
    return notes | ({"modelspec.trigger_phrase": trigger} if trigger else {})


class Whole(Trainee):
    """Every weight of the denoiser."""

    whole = True

    def __init__(self, request: Train, base: BaseModel) -> None:
        super().__init__(request, base)
        out = Path(request.out)
        cause = ""
        if request.export == "kohya":
            cause = "A whole model is no LoRA file."
        elif request.spec.dropout or request.spec.rank_stabilised or request.tuning.dora:
            cause = "Dropout, rank stabilisation and DoRA belong to adapters."
        elif request.spec.text_targets:
            cause = "Text encoders are adapted, never trained as a whole."
        elif request.export == "diffusers" and out.exists() and not _is_model(out):
            cause = f"{out} exists and is no model folder."
        if cause:
            raise TrainerError(
                "The whole model cannot be trained like this",
                cause,
                "Write a diffusers folder under a new name, or export its weights as factors.",
                MISUSE,
            )
        self.start = whole.read(Path(request.initial)) if request.initial else {}
        self.rounds = whole.rounds(Path(request.initial)) if request.initial else 0

    def decisive(self) -> Iterator[FloatArray]:
        for _, array in sorted(self.start.items()):
            yield array

    @contextmanager
    def parameters(self, model: LoadedModel) -> Iterator[dict[str, nn.Parameter]]:
        network = model.components[self.base.family.adapted]
        with whole.trainable(network, self.start) as named:
            network.train()
            try:
                yield named
            finally:
                network.eval()

    def write(self, model: LoadedModel) -> Result:
        out = Path(self.request.out)
        named = dict(model.components[self.base.family.adapted].named_parameters())
        if self.request.export == "factors":
            notes = {ROUNDS_KEY: str(self.rounds), STEPS_KEY: str(self.request.steps)}
            return written(tensor_file.write(out, whole.extracted(named), notes))
        draft, former = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in PARTS)
        try:
            model.save(draft)
            if out.exists():
                out.replace(former)
            draft.replace(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(former, ignore_errors=True)
        digests = BaseModel(out.name, out, model.family)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        return {
            "path": str(out),
            "sha256": digests.component_sha256(self.base.family.adapted),
            "bytes": size,
        }


def _is_model(folder: Path) -> bool:
    return (folder / "model_index.json").is_file()
