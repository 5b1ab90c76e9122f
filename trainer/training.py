"""One request to train, from its settings to the file it leaves."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer import (
    cache,
    checkpoint,
    dataset,
    generate,
    injection,
    loop,
    lora_file,
    memory,
    objective,
    precision,
    rates,
    selection,
    trainee,
)
from trainer.arithmetic import Result, listed_problems
from trainer.cache import Cache
from trainer.config import MAX_BATCH, MAX_PROXIMAL, MAX_RESOLUTION, MAX_STEPS
from trainer.crew import ALONE, Crew
from trainer.dataset import Contents
from trainer.errors import MISUSE, Cancelled, TrainerError
from trainer.job import Job
from trainer.loop import Material, Recipe
from trainer.memory import Plan
from trainer.models.base import BaseModel, Digests, LoadedModel
from trainer.protocol import DENSE, DataOptions, Generate, Samples, Train, Tuning
from trainer.provenance import Provenance
from trainer.scan_index import ScanIndex
from trainer.selection import Selection
from trainer.supply import Supply
from trainer.trainee import Trainee

log = logging.getLogger("trainer")

TRAINED_BYTES = 16
"""Per trained scalar: its value, gradient and the optimiser's two moments, in float32."""


def check(request: Train, base: BaseModel) -> None:
    """Refuses impossible settings before anything is loaded. Raises :class:`TrainerError`."""
    tuning, side = request.tuning, base.side_step
    cause = ""
    if not 1 <= request.steps <= MAX_STEPS:
        cause = f"{request.steps} steps; 1 to {MAX_STEPS} are possible."
    elif not 0 <= request.batch <= MAX_BATCH:
        cause = f"A batch of {request.batch}; 0 to {MAX_BATCH} are possible, 0 takes what fits."
    elif not 0.0 <= request.learning_rate <= 10.0:
        cause = f"A learning rate of {request.learning_rate}; above 0 and at most 10 is possible."
    elif request.samples.prompts and not request.samples.out:
        cause = "Samples need a folder to go to."
    elif request.samples.every < 0:
        cause = "Numbers of steps cannot be negative."
    elif not 0.0 <= request.proximal <= MAX_PROXIMAL:
        cause = f"A proximal weight of {request.proximal}; 0 to {MAX_PROXIMAL:g} is possible."
    elif not 0.0 <= request.spec.dropout < 1.0:
        cause = f"A dropout of {request.spec.dropout}; 0 to below 1 is possible."
    elif request.min_snr < 0.0:
        cause = f"A min-SNR gamma of {request.min_snr} is negative."
    elif request.resolution % side or not 0 <= request.resolution <= MAX_RESOLUTION:
        cause = f"A resolution of {request.resolution}; multiples of {side} are possible."
    else:
        cause = _impossible(tuning)
    if cause:
        raise TrainerError("The training settings are impossible", cause, "Correct it.", MISUSE)


def _impossible(tuning: Tuning) -> str:
    if not 1 <= tuning.accumulate <= MAX_BATCH:
        return f"{tuning.accumulate} batches in a step; 1 to {MAX_BATCH} are possible."
    if not 0 <= tuning.warmup <= MAX_STEPS or tuning.validate_every < 0:
        return "Numbers of steps cannot be negative."
    if not 0.0 <= tuning.ema < 1.0:
        return "The decay of a moving average lies from 0 to below 1."
    bounded = (tuning.weight_decay, tuning.clip, tuning.noise_offset, tuning.prior_weight)
    if not all(0.0 <= value <= 1e3 for value in bounded):
        return "Weight decay, clipping, noise offset and the prior's weight lie from 0 to 1000."
    return ""


def settled(request: Train, base: BaseModel) -> Train:
    """The request with a learning rate, where it leaves that to the model."""
    suited = rates.suited(base, request.tuning, whole=request.mode == DENSE)
    return replace(request, learning_rate=request.learning_rate or suited)


@dataclass(frozen=True)
class Found:
    """What a request names, looked at before a model is loaded."""

    what: Trainee
    contents: Contents
    selection: Selection
    prior: Selection | None
    held_out: Contents | None


def found(request: Train, base: BaseModel, job: Job) -> Found:
    """Raises :class:`TrainerError` for folders and files that cannot be trained with."""
    resolution, side_step = request.resolution or base.resolution, base.side_step
    selection.check(request.data, resolution, side_step)
    if request.export == "kohya":
        lora_file.check_format(base, "kohya")
    what = trainee.of(request, base)

    index = ScanIndex(Path(request.cache) if request.cache else None)

    def scanned(folder: str, options: DataOptions = dataset.PLAIN) -> Contents:
        contents = dataset.scan(Path(folder), job, resolution, options, index)
        contents.require_pictures()
        return contents

    tuning, contents = request.tuning, scanned(request.folder, request.data)
    prior = scanned(tuning.prior) if tuning.prior else None
    held_out = scanned(tuning.held_out) if tuning.held_out else None
    if held_out:
        for trained in (contents, *([prior] if prior else [])):
            _require_apart(trained, held_out)
    return Found(
        what,
        contents,
        Selection.of(contents, request.data, resolution, side_step),
        Selection.of(prior, dataset.PLAIN, resolution) if prior else None,
        held_out,
    )


def _require_apart(trained: Contents, held_out: Contents) -> None:
    """Raises :class:`TrainerError` when a loss on pictures held out would be one on pictures learnt
    by heart: most often their folder lies inside the one that is trained on."""
    known = {picture.sha256: picture.file for picture in trained.pictures}
    common = [picture for picture in held_out.pictures if picture.sha256 in known]
    if common:
        first = common[0]
        raise TrainerError(
            "Pictures held out are trained on",
            f"{len(common)} of {len(held_out.pictures)}; for instance {first.file} of "
            f"{held_out.folder} is {known[first.sha256]} of {trained.folder}.",
            "Move them out of the folder that is trained on, or leave the other one out.",
            MISUSE,
        )


def run(
    request: Train,
    given: Found,
    model: LoadedModel,
    digests: Digests,
    job: Job,
    crew: Crew = ALONE,
) -> Result:
    """Trains and writes the file, which only the leader of a crew does.

    Raises :class:`TrainerError` and :class:`Cancelled`.
    """
    objective.check(model.schedule, request.min_snr)
    what, base = given.what, given.what.base
    with crew.together():
        material = _encoded(request, given, model, digests, job)
    _tell_lost(given.selection, model, job)
    network = model.components[base.family.adapted]
    side = max(max(model.latent_shape(moments)[2:]) for moments in material.examples.shapes())
    saved = Path(request.checkpoint) if request.checkpoint else None

    def draw(step: int) -> None:
        if request.samples.prompts:
            _draw(request, base, model, digests, step, job)

    compiler = precision.no_compiler(model.device) if request.tuning.compile else ""
    with what.parameters(model) as parameters, precision.lowered(model, network, side, what.whole):
        with crew.together():
            plan = _planned(request, model, material, sum(p.numel() for p in parameters.values()))
        recipe = _recipe(request, plan, _run_name(request, plan, digests, material, what))
        compiled = request.tuning.compile and not compiler
        with precision.prepared(network, plan.checkpointing, compiled):
            try:
                outcome = loop.train(
                    model, network, parameters, material, recipe, job, saved,
                    draw if crew.leads else None, crew,
                )  # fmt: skip
            except Exception as error:
                if not memory.is_exhaustion(error):
                    raise
                resolution = request.resolution or base.resolution
                raise memory.exhausted(error, plan.batch, plan.checkpointing, resolution) from error
        result = _written(what, model) if crew.leads else {}
        computed = str(model.compute).removeprefix("torch.")
    if saved is not None and crew.leads:
        saved.unlink(missing_ok=True)
    return result | {
        "samples": len(given.contents.pictures),
        "steps": outcome.steps,
        "learning_rate": request.learning_rate,
        "loss": outcome.loss,
        "seconds": outcome.seconds,
        "problems": listed_problems(given.contents),
        "batch": plan.batch,
        "precision": computed,
        "checkpointing": plan.checkpointing,
        "fallbacks": precision.fallbacks(model.device, compiler),
        "held_out": [list(each) for each in outcome.held_out],
    }


def _written(what: Trainee, model: LoadedModel) -> Result:
    """Raises :class:`TrainerError` when the disk does not take the result of the work."""
    try:
        return what.write(model)
    except OSError as error:
        raise TrainerError(
            "What was trained cannot be written",
            f"{what.request.out}: {error.strerror or error}.",
            "Make room there, or see to your rights; --resume goes on from the last checkpoint.",
        ) from error


def _draw(
    request: Train, base: BaseModel, model: LoadedModel, digests: Digests, step: int, job: Job
) -> None:
    """Draws the samples with what trains as it is now; announces each with its path.

    Where there is no memory for that, it says so and the training goes on.
    """
    wanted = request.samples
    drawn = Generate(
        request.model, wanted.prompts, wanted.seeds,
        str(Path(wanted.out) / f"step-{step:06d}"), steps=wanted.steps, guidance=wanted.guidance,
        width=request.resolution, height=request.resolution,
    )  # fmt: skip
    exposures = generate.planned(drawn, base.resolution, base.side_step)
    provenance = Provenance(base.name, digests.model, (), f"step {step} of {request.steps}")

    def tell(data: dict[str, Any]) -> None:
        if "path" in data:
            job.announce({"stage": "sample", "step": step, "steps": request.steps} | data)

    def stopped() -> bool:
        try:
            job.check()
        except Cancelled:
            return True
        return False

    watched = Job(stopped, announce=tell)
    try:
        with injection.at_rest(model.components.values()):
            generate.draw_all(model, exposures, drawn, provenance, lambda weights: None, watched)
    except Cancelled:
        log.info("the pictures after step %d are left out: the training ends", step)
    except Exception as error:
        # Hours of training are worth more than a look at them, which takes memory of its own.
        if memory.is_exhaustion(error):
            text = f"no room to draw samples beside the training: none after step {step}"
        elif isinstance(error, OSError):
            text = f"the samples after step {step} cannot be written: {error.strerror or error}"
        else:
            raise
        log.warning("the pictures after step %d are left out: %s", step, error)
        job.announce({"stage": "note", "text": text})


def _encoded(
    request: Train, given: Found, model: LoadedModel, digests: Digests, job: Job
) -> Material:
    resolution = request.resolution or given.what.base.resolution
    kept = Cache(Path(request.cache) if request.cache else None)

    def supply(selection: Selection) -> Supply:
        return cache.supply(selection, model, digests, kept, job)

    return Material(
        supply(given.selection),
        supply(given.prior) if given.prior else None,
        cache.encode(given.held_out, resolution, model, digests, kept, job)
        if given.held_out
        else None,
        given.what.speaks,
    )


def _tell_lost(chosen: Selection, model: LoadedModel, job: Job) -> None:
    """Tells of captions whose end no text encoder reads: whoever wrote it thinks it is learnt."""
    lost = [(entry, model.tokens_lost(entry.wordings[0])) for entry in chosen.entries]
    cut = [(entry, tokens) for entry, tokens in lost if tokens]
    if cut:
        entry, tokens = max(cut, key=lambda each: each[1])
        text = (
            f"{len(cut)} of {len(lost)} captions are longer than the model reads, and end "
            f"unheard; that of {entry.picture.file} by {tokens} tokens"
        )
        job.announce({"stage": "note", "text": text})


def _planned(request: Train, model: LoadedModel, material: Material, trained: int) -> Plan:
    """Measures what one picture needs and decides the batch, unless it was decided before."""
    tuning, wanted = request.tuning, request.batch
    if not wanted and request.resume:
        wanted = min(checkpoint.batch_of(Path(request.checkpoint)), MAX_BATCH)
    if wanted and tuning.checkpointing != "auto":
        return Plan(wanted, tuning.checkpointing == "on")
    single = _recipe(request, Plan(1, False), "")
    weights = sum(
        parameter.untyped_storage().nbytes()
        for component in model.components.values()
        for parameter in component.parameters()
    )
    each = memory.kept_bytes(lambda: loop.step_loss(model, material, single, 0), weights)
    most = min(memory.MAX_FOUND.get(model.device.type, 8), max(1, len(material.examples)))
    return memory.planned(
        wanted,
        tuning.checkpointing,
        each,
        trained * TRAINED_BYTES,
        memory.free_bytes(model.device),
        most,
    )


def _recipe(request: Train, plan: Plan, run_name: str) -> Recipe:
    return Recipe(
        request.steps,
        plan.batch,
        request.learning_rate,
        request.min_snr,
        request.seed,
        request.round,
        request.node,
        run_name,
        request.proximal,
        request.tuning,
        request.samples.every,
        request.resume,
    )


def _run_name(
    request: Train,
    plan: Plan,
    digests: Digests,
    material: Material,
    what: Trainee,
) -> str:
    """A hash of all that decides a training run's course; more steps continue the same run
    unless the learning rate depends on their number."""
    tuning = replace(request.tuning, prior="", held_out="", validate_every=0, checkpointing="auto")
    constant = tuning.schedule == "constant"
    plain = replace(
        request, model="", folder="", out="", initial="", cache="", checkpoint="",
        steps=0 if constant else request.steps, export="factors", personal="", samples=Samples(),
        batch=plan.batch, tuning=tuning, resume=False,
    )  # fmt: skip
    digest = hashlib.sha256(json.dumps(asdict(plain), sort_keys=True).encode())
    digest.update(digests.model.encode())
    for examples in (material.examples, material.prior):
        if examples is not None:
            digest.update(examples.sha256().encode())
    for array in what.decisive():
        digest.update(array.tobytes())
    return digest.hexdigest()
