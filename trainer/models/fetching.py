"""Making a model of the hub ready, without torch: downloaded, checked, recorded."""

from __future__ import annotations

from trainer import models
from trainer.job import Job
from trainer.models import hub, store
from trainer.models.base import BaseModel, Digests


def obtain(model: str, job: Job) -> BaseModel:
    """The model of a hub name, downloaded first if need be.

    Reports what :func:`hub.download` does, then ``{"stage": "check"}`` while it computes the
    model's hash. Raises :class:`TrainerError`.
    """
    folder = store.place(model)
    if store.record(folder) is None:
        with hub.alone(folder, job):
            if store.record(folder) is None:
                revision = hub.download(model, folder, job)
                job.announce({"stage": "check", "step": 0, "steps": 1})
                base = models.described(folder.name, folder)
                store.write_record(folder, store.Record(model, revision, Digests.of(base).model))
    return models.resolve(model)
