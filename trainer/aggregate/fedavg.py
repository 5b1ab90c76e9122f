"""FedAvg of factors: Ā = Σ p_k A_k and B̄ = Σ p_k B_k with p_k = n_k / Σ n.

McMahan et al., arXiv 1602.05629; for LoRA factors FedIT, arXiv 2305.05644. B̄ Ā differs from
Σ p_k B_k A_k; with one shared A at the start the difference is a few per cent per round.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from trainer import tensor_file
from trainer.aggregate.kernel import Combination, UpdateStatistics, each_tensor, open_source
from trainer.job import Job
from trainer.protocol import WeightedFile


def combine(inputs: Sequence[WeightedFile], previous: Path, out: Path, job: Job) -> Combination:
    """See :data:`trainer.aggregate.modes.Mode`."""
    with ExitStack() as stack:
        base = open_source(stack, "the previous adapter", previous, 1)
        sources = [open_source(stack, i.id, Path(i.path), i.weight) for i in inputs]
        for source in sources:
            if source.header.shapes != base.header.shapes:
                raise tensor_file.FormatError(
                    f"{source.id} has other tensors than the previous adapter"
                )
        statistics = UpdateStatistics(sources)
        tensors = each_tensor(base, sources, statistics, job.check)
        written = tensor_file.write_stream(out, base.header.shapes, tensors)
    return Combination(written, statistics.norms, statistics.cosines)
