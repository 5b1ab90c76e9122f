"""Requests that need torch: a base model in memory and what is done with it.

A :class:`Studio` keeps one base model loaded between requests and never changes its weights. What
each handler takes and gives is written at its request in :mod:`trainer.protocol`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from trainer import (
    batch_sheet,
    cache,
    crew,
    dataset,
    device,
    evaluate,
    generate,
    injection,
    tensor_file,
    training,
    whole,
)
from trainer.arithmetic import Handler, Result, written
from trainer.cache import Cache
from trainer.config import MAX_DRAWS
from trainer.errors import MISUSE, Cancelled, TrainerError
from trainer.job import Job
from trainer.measures import leak
from trainer.mix import alone, ingredient, mixed
from trainer.models import importing, prediction, store
from trainer.models.base import BaseModel, Digests, LoadedModel
from trainer.protocol import (
    Evaluate,
    ExportWhole,
    Generate,
    ImportModel,
    InitWhole,
    Load,
    PreviewData,
    ProbeLeak,
    Request,
    Train,
)
from trainer.provenance import Lora, Provenance


@dataclass(frozen=True)
class Loaded:
    """A base model in memory, and what its files looked like when it was read."""

    base: BaseModel
    model: LoadedModel
    digests: Digests
    fingerprint: tuple[tuple[str, int, int], ...]


class Studio:
    """Trains, draws and measures with one loaded base model at a time."""

    def __init__(self) -> None:
        self._device = device.configure()
        self._crew = crew.joined(self._device)
        self._loaded: Loaded | None = None

    @property
    def device_name(self) -> str:
        return device.described(self._device)

    def handlers(self) -> dict[type[Request], Handler]:
        """What this adds to the requests that need no torch."""
        return {
            Load: self.load,
            Train: self.lead,
            Generate: self.generate,
            Evaluate: self.evaluate,
            PreviewData: batch_sheet.draw,
            ImportModel: self.import_model,
            ProbeLeak: self.probe_leak,
            InitWhole: self.init_whole,
            ExportWhole: self.export_whole,
        }

    def load(self, request: Load, job: Job) -> Result:
        loaded = self._use(request.model, job)
        return {
            "model": loaded.base.name,
            "sha256": loaded.digests.model,
            "device": self.device_name,
            "parameters": loaded.model.parameters,
            "resolution": loaded.base.resolution,
        }

    def import_model(self, request: ImportModel, job: Job) -> Result:
        prediction.check(request.prediction)
        base = importing.obtain(request.model, job)
        if request.prediction:
            base = importing.correct(request.model, request.prediction)
        kept = store.record(base.folder)
        return {
            "model": base.name,
            "folder": str(base.folder),
            "sha256": kept.sha256 if kept is not None else Digests.of(base).model,
            "revision": kept.revision if kept is not None else "",
            "family": base.family.name,
            "resolution": base.resolution,
            "prediction": base.prediction,
        }

    def train(self, request: Train, job: Job) -> Result:
        with self._crew.together():
            base = importing.obtain(request.model, job)
            training.check(request, base)
            request = training.settled(request, base)
            given = training.found(request, base, job)
            loaded = self._use(request.model, job)
        return training.run(request, given, loaded.model, loaded.digests, job, self._crew)

    def lead(self, request: Train, job: Job) -> Result:
        """Trains with all processes of the crew."""
        self._crew.tell(request)
        try:
            return self.train(request, job)
        except BaseException:
            self._crew.tell(crew.STOP)
            raise

    def follow(self) -> None:
        """Trains what the leader trains, until there is no leader any more."""
        while True:
            request = self._crew.heard()
            if isinstance(request, Train):
                with suppress(Cancelled, TrainerError):
                    self.train(replace(request, tuning=replace(request.tuning, held_out="")), Job())

    def generate(self, request: Generate, job: Job) -> Result:
        base = importing.obtain(request.model, job)
        exposures = generate.planned(request, base.resolution, base.side_step)
        paths = [Path(lora.path) for lora in request.loras]
        adapters = [ingredient(path, base) for path in paths]
        if len({exposure.weights for exposure in exposures}) > 1:
            adapters = [adapter.plain for adapter in adapters]  # only factors can be reweighed
        loras = tuple(Lora.of(path) for path in paths)
        loaded = self._use(request.model, job)
        provenance = Provenance(base.name, loaded.digests.model, loras, request.note)

        def weigh(weights: Sequence[float]) -> None:
            injection.reweigh(loaded.model, mixed(adapters, weights).factors)

        first = mixed(adapters, exposures[0].weights)
        with first.on(loaded.model), _room_on(request):
            pictures = generate.draw_all(loaded.model, exposures, request, provenance, weigh, job)
        return {"pictures": pictures}

    def evaluate(self, request: Evaluate, job: Job) -> Result:
        if not 1 <= request.draws <= MAX_DRAWS:
            raise TrainerError(
                "The adapters cannot be compared",
                f"{request.draws} draws were asked for.",
                f"Use 1 to {MAX_DRAWS}.",
                MISUSE,
            )
        base = importing.obtain(request.model, job)
        adapters = {path: alone(path, base) for path in request.adapters}
        contents = dataset.scan(Path(request.folder), job)
        contents.require_pictures()
        loaded = self._use(request.model, job)
        examples = cache.encode(
            contents,
            base.resolution,
            loaded.model,
            loaded.digests,
            Cache(Path(request.cache) if request.cache else None),
            job,
        )
        by_picture = {}
        for number, (path, mix) in enumerate(adapters.items()):
            job.report({"stage": "evaluate", "step": number, "steps": len(adapters)})
            with mix.on(loaded.model):
                spoken = examples.spoken_by(loaded.model) if mix.speaks else examples
                by_picture[path] = evaluate.denoising_losses(
                    loaded.model, spoken, request.draws, request.seed, job
                )
        losses = {path: evaluate.mean(list(some.values())) for path, some in by_picture.items()}
        result: Result = {"losses": losses, "pictures": len(examples), "draws": request.draws}
        if request.by_picture:
            captions = {picture.sha256: picture.caption.text for picture in contents.pictures}
            result |= {"by_picture": by_picture, "captions": captions}
        if request.pictures:
            style = evaluate.read_style(request.pictures, request.seed)
            result |= {"painterly": style.painterly, "classifier_accuracy": style.accuracy}
        return result

    def probe_leak(self, request: ProbeLeak, job: Job) -> Result:
        base = importing.obtain(request.model, job)
        mix = alone(request.adapter, base)
        folders = [dataset.scan(Path(folder), job) for folder in (request.members, request.others)]
        for contents in folders:
            contents.require_pictures()
        both = set.intersection(*({each.sha256 for each in some.pictures} for some in folders))
        if both:
            raise TrainerError(
                "Members cannot be told from others",
                f"{len(both)} pictures are both trained on and held out.",
                "Name held-out pictures that the adapter was not trained on.",
                MISUSE,
            )
        loaded = self._use(request.model, job)
        own, other = (
            cache.encode(each, base.resolution, loaded.model, loaded.digests, Cache(None), job)
            for each in folders
        )
        base_seen = leak.observe(loaded.model, own, other, request.draws, request.seed, job)
        with mix.on(loaded.model):
            if mix.speaks:
                own, other = own.spoken_by(loaded.model), other.spoken_by(loaded.model)
            seen = leak.observe(loaded.model, own, other, request.draws, request.seed, job)
        attacks = {name: asdict(each) for name, each in leak.attacks(seen, base_seen).items()}
        result: Result = {"attacks": attacks}
        if request.pictures:
            result["nearest"] = leak.nearest_training(
                [Path(path) for path in request.pictures],
                training=folders[0],
                others=folders[1],
                extractor=request.extractor,
            )
        return result | {"members": len(own), "others": len(other)}

    def init_whole(self, request: InitWhole, job: Job) -> Result:
        loaded = self._use(request.model, job)
        network = loaded.model.components[loaded.base.family.adapted]
        return written(
            tensor_file.write(Path(request.out), whole.extracted(dict(network.named_parameters())))
        )

    def export_whole(self, request: ExportWhole, job: Job) -> Result:
        loaded = self._use(request.model, job)
        network = loaded.model.components[loaded.base.family.adapted]
        folder = Path(request.folder)
        with whole.replaced(network, whole.read_averages(Path(request.weights))):
            loaded.model.save(folder)
        exported = BaseModel(folder.name, folder, loaded.base.family)
        return {"path": str(folder), "sha256": Digests.of(exported).model}

    def _use(self, name: str, job: Job) -> Loaded:
        """The loaded model, read again when it is another one or its files have changed."""
        base = importing.obtain(name, job)
        fingerprint = base.fingerprint()
        if self._loaded is None or self._loaded.fingerprint != fingerprint:
            job.report({"stage": "load", "step": 0, "steps": 1})
            self._loaded = None
            digests = Digests.of(base)
            self._loaded = Loaded(base, base.family.load(base, self._device), digests, fingerprint)
        return self._loaded


@contextmanager
def _room_on(request: Generate) -> Iterator[None]:
    """Answers a device without enough memory for these pictures with what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainerError(
            "Out of memory",
            f"There is no room to draw {request.batch} pictures of this size at once: {error}",
            f"Use a batch of {request.batch // 2}." if request.batch > 1 else "Use a smaller size.",
        ) from error
