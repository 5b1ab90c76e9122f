"""Requests that need no torch: folders, first adapters, strangers' files, combination, export.

What each handler takes and gives is written at its request in :mod:`trainer.protocol`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from trainer import (
    adapter,
    combining,
    contact_sheet,
    dataset,
    embedded,
    lora_file,
    models,
    room_adapter,
    room_inspecting,
    safefile,
    whole_file,
)
from trainer.aggregate import combination
from trainer.aggregate.modes import LOW_RANK, MODES
from trainer.aggregate.rules import RULES
from trainer.config import (
    LISTED_PICTURES,
    LISTED_PROBLEMS,
    LISTED_SIZES,
    LISTED_TAG,
    LISTED_TAGS,
)
from trainer.embedded import federated
from trainer.embedded.scenes import STYLES, Scene, sample_scene
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.lora_file import LoraAdapter
from trainer.models import listing, store
from trainer.models.base import Digests
from trainer.picture_sides import sides
from trainer.protocol import (
    DENSE,
    CheckBlob,
    CheckData,
    Combine,
    CombineAdapters,
    ContactSheet,
    Describe,
    ExportAdapter,
    FetchModel,
    InitAdapter,
    InspectAdapter,
    ListModels,
    MeasureDownload,
    Request,
    RestoreAdapter,
    SampleData,
    SplitData,
)
from trainer.selection import Selection
from trainer.tensor_file import Written

Result = dict[str, Any]
Handler = Callable[[Any, Job], Result]


def written(file: Written) -> Result:
    """The part of a result that names a file."""
    return {"path": str(file.path), "sha256": file.sha256, "bytes": file.bytes}


def listed_problems(contents: dataset.Contents) -> list[Result]:
    """Problems fit for a message, the fatal ones first."""
    ordered = sorted(contents.problems, key=lambda problem: not problem.fatal)
    return [asdict(problem) for problem in ordered[:LISTED_PROBLEMS]]


def describe(request: Describe, job: Job) -> Result:
    job.check()
    model = models.resolve(request.model)
    built_in = request.model == embedded.MODEL_NAME
    return {
        "model": model.name,
        "sha256": Digests.of(model).model,
        "resolution": model.resolution,
        "prompts": list(federated.DEMO_PROMPTS) if built_in else [],
        "algorithms": list(MODES),
        "rules": list(RULES),
    }


def list_models(request: ListModels, job: Job) -> Result:
    job.check()
    found = listing.present(request.also)
    return {"store": str(store.root()), "models": [asdict(entry) for entry in found]}


def measure_download(request: MeasureDownload, job: Job) -> Result:
    from trainer.models import hub

    job.check()
    folder = _place(request.model)
    told: Result = {"model": request.model, "ready": store.record(folder) is not None}
    if told["ready"]:
        size = listing.bytes_in(folder)
        return told | {"total": size, "present": size, "free": 0}
    return told | asdict(hub.measure(request.model, folder))


def fetch_model(request: FetchModel, job: Job) -> Result:
    from trainer.models import fetching

    _place(request.model)
    base = fetching.obtain(request.model, job)
    kept = store.record(base.folder)
    return {
        "model": base.name,
        "folder": str(base.folder),
        "sha256": kept.sha256 if kept else Digests.of(base).model,
    }


def _place(model: str) -> Path:
    """Where a hub name is kept. Raises :class:`TrainerError` for what is no such name."""
    if not store.is_hub_name(model):
        raise TrainerError(
            "This is no name of a model on the hub",
            f"{model[:200]!r} is a file or folder here, or not written owner/name.",
            "Names look like stable-diffusion-v1-5/stable-diffusion-v1-5; a file is made ready by "
            "fedtui model import.",
            MISUSE,
        )
    return store.place(model)


def check_data(request: CheckData, job: Job) -> Result:
    resolution, side_step = models.sides(request.model, request.resolution)
    contents = dataset.scan(Path(request.folder), job, resolution, request.options)
    selection = Selection.of(contents, request.options, resolution, side_step)
    pictures = [
        {"file": p.file, "caption": p.caption.text, "width": p.width, "height": p.height}
        for p in contents.pictures[:LISTED_PICTURES]
    ]
    return {
        "usable": len(contents.pictures),
        "digest": contents.digest,
        "pictures": pictures,
        "problems": listed_problems(contents),
        "captions": contents.caption_counts(),
        "left_out": [asdict(each) for each in contents.left_out[:LISTED_PICTURES]],
        "left_out_count": len(contents.left_out),
        "sides": sides(contents.pictures, request.options, resolution),
        **_overview(contents, selection),
    }


def _overview(contents: dataset.Contents, selection: Selection) -> Result:
    texts = [text for picture in contents.pictures for text in picture.caption.texts]
    tags = Counter(tag.strip() for text in texts for tag in text.split(",") if tag.strip())
    sizes = Counter(f"{picture.width}x{picture.height}" for picture in contents.pictures)
    return {
        "sizes": dict(sizes.most_common(LISTED_SIZES)),
        "buckets": {f"{w}x{h}": count for (w, h), count in sorted(selection.buckets.items())},
        "tags": [[tag[:LISTED_TAG], count] for tag, count in tags.most_common(LISTED_TAGS)],
        "duplicates": contents.duplicates,
        "several_captions": sum(len(p.caption.texts) > 1 for p in contents.pictures),
        "longest_caption": max(map(len, texts), default=0),
        "pass": selection.pass_length,
        "encoded": {
            "views": sum(len(entry.views) for entry in selection.entries),
            "wordings": len(selection.wordings),
        },
    }


def sample_data(request: SampleData, job: Job) -> Result:
    style = next((style for style in STYLES if style == request.style), None)
    if style is None or not 0 <= request.count <= 100_000 or not request.beta > 0:
        raise TrainerError(
            "These pictures cannot be drawn",
            f"Style {request.style!r}, {request.count} pictures, beta {request.beta}.",
            f"Styles are {', '.join(STYLES)}; at most 100000 pictures; beta is positive.",
            MISUSE,
        )
    job.check()
    if request.participant >= 0:
        scenes = _share(request)
    elif request.participant == HELD_OUT:
        scenes = federated.heldout_scenes(request.count, request.seed)
    else:
        rng = Random(request.seed)
        scenes = [sample_scene(rng) for _ in range(request.count)]
    federated.write_dataset(Path(request.folder), scenes, style, seed=request.seed)
    return {"written": len(scenes)}


def _share(request: SampleData) -> list[Scene]:
    """One participant's scenes."""
    index, count, seed = request.participant, request.count, request.seed
    if request.split == "even":
        return federated.even_scenes(index, count, seed)
    if request.split == "dirichlet":
        return federated.dirichlet_scenes(index, count, seed, request.beta)
    return federated.participant_scenes(index, count, seed)


def split_data(request: SplitData, job: Job) -> Result:
    contents = dataset.scan(Path(request.folder), job)
    holdout_folder = Path(request.holdout_folder) if request.holdout_folder else None
    counts, holdout = dataset.split(
        contents,
        [Path(path) for path in request.out],
        request.seed,
        request.holdout,
        holdout_folder,
    )
    return {"counts": counts, "holdout": holdout}


def init_adapter(request: InitAdapter, job: Job) -> Result:
    job.check()
    base = models.resolve(request.model)
    if request.mode == DENSE:
        return written(whole_file.write_initial(Path(request.out), base))
    layers = adapter.target_layers(base, request.spec)
    adapter.check_personal(layers, request.spec)
    shared = adapter.shared_layers(layers, request.spec)
    return written(
        adapter.write_initial(Path(request.out), shared, request.spec.rank, request.seed)
    )


def check_blob(request: CheckBlob, job: Job) -> Result:
    job.check()
    base = models.resolve(request.model)
    if request.mode == DENSE:
        whole = safefile.check(Path(request.path), whole_file.shapes(base), request.max_bytes)
        return {"ok": whole.ok, "reason": whole.reason}
    shared = adapter.shared_layers(adapter.target_layers(base, request.spec), request.spec)
    # What a mode trains may depend on the round, which a plan does not know.
    trained = [LOW_RANK[request.mode].trained(rounds) for rounds in (0, 1)]
    for parts in dict.fromkeys(trained):
        shapes = adapter.contribution_shapes(shared, request.spec.rank, parts)
        verdict = safefile.check(Path(request.path), shapes, request.max_bytes)
        if verdict.ok:
            break
    return {"ok": verdict.ok, "reason": verdict.reason}


def combine(request: Combine, job: Job) -> Result:
    done = combination.combine(
        request.mode,
        request.inputs,
        Path(request.previous),
        Path(request.out),
        job,
        request.rule,
        request.seed,
        late=request.late,
    )
    return written(done.written) | {"statistics": statistics(done)}


def combine_adapters(request: CombineAdapters, job: Job) -> Result:
    done = combining.combine_files(request, job)
    return written(done.written) | {
        "modules": done.adapter.modules,
        "rank": done.adapter.rank,
        "statistics": statistics(done.combination),
    }


def restore_adapter(request: RestoreAdapter, job: Job) -> Result:
    job.check()
    if not request.rank:
        return written(whole_file.restore(Path(request.path), Path(request.out)))
    model = models.resolve(request.model)
    read = lora_file.read(Path(request.path), model)
    architecture = lora_file.Architecture.of(model)
    layers = {
        architecture.flat_name(component, name): factors
        for component, name, factors in lora_file.each_layer(read)
    }
    room = room_adapter.restored(layers, request.rank, read.metadata)
    return written(room_adapter.write(Path(request.out), room))


def statistics(done: combination.Combination) -> Result:
    """A combination as it is told in messages."""
    told = asdict(done)
    del told["written"]
    return told


def export_adapter(request: ExportAdapter, job: Job) -> Result:
    job.check()
    path, error = Path(request.path), 0.0
    if whole_file.is_whole(path):
        made = whole_file.export(path, Path(request.out), request.metadata)
        return written(made.written) | {"modules": made.tensors, "rank": 0, "error": 0.0}
    base = (
        lora_file.Architecture.of(models.resolve(request.model))
        if request.model
        else lora_file.known_base(path)
    )
    lora_file.check_format(base, request.format)
    if room_adapter.is_room_adapter(path):
        room = room_adapter.read(path)
        layers, error = room.truncated(request.rank) if request.rank else (room.exact(), 0.0)
        about = {} if request.rank else room_adapter.export_notes(room)
        read = LoraAdapter(base.by_component(layers), "factors", about)
    else:
        read = lora_file.read(path, base)
    notes = _own_notes(read.metadata) | request.metadata
    file = lora_file.write(Path(request.out), read, request.format, base, notes)
    return {
        "path": str(file.path),
        "sha256": file.sha256,
        "modules": read.modules,
        "rank": read.rank,
        "error": error,
    }


def _own_notes(metadata: Mapping[str, str]) -> dict[str, str]:
    """What an earlier writing of ours said of the adapter's origin."""
    return {key: value for key, value in metadata.items() if key.startswith("fedtui.")}


def inspect_adapter(request: InspectAdapter, job: Job) -> Result:
    job.check()
    path = Path(request.path)
    model = models.resolve(request.model) if request.model else None
    ours = room_adapter.is_room_adapter(path) and not whole_file.is_whole(path)
    found = (room_inspecting if ours else lora_file).inspect(path, model)
    if request.whole:
        if ours:
            room_adapter.read(path)
        else:
            lora_file.read(path, model or lora_file.known_base(path))
    alphas = {"none" if alpha is None else str(alpha): n for alpha, n in found.alphas.items()}
    return asdict(found) | {"alphas": alphas, "ignored": list(found.ignored)}


def draw_contact_sheet(request: ContactSheet, job: Job) -> Result:
    job.check()
    contact_sheet.write(Path(request.out), request.columns, request.rows)
    return {"path": request.out}


HELD_OUT = -2
"""``SampleData.participant`` that stands for the held-out pictures."""

HANDLERS: Mapping[type[Request], Handler] = {
    Describe: describe,
    ListModels: list_models,
    MeasureDownload: measure_download,
    FetchModel: fetch_model,
    CheckData: check_data,
    SampleData: sample_data,
    SplitData: split_data,
    InitAdapter: init_adapter,
    CheckBlob: check_blob,
    Combine: combine,
    CombineAdapters: combine_adapters,
    RestoreAdapter: restore_adapter,
    ExportAdapter: export_adapter,
    InspectAdapter: inspect_adapter,
    ContactSheet: draw_contact_sheet,
}
