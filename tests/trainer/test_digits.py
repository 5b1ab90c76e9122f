"""Shares of real digits, and their judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.errors import TrainerError
from trainer.job import Job
from trainer.measures import digits
from trainer.measures.requests import judge_digits
from trainer.protocol import JudgeDigits


def counts(index: int, beta: float, shared: float = 0.0) -> np.ndarray:
    return np.bincount(digits.share(index, 10, beta, shared, 1).classes, minlength=10)


def test_every_digit_belongs_to_exactly_one_participant_or_to_nobody() -> None:
    pictures = [digits.share(i, 10, 0.5, 0.0, 1).pictures for i in range(10)]
    everything = np.concatenate([*pictures, digits.held_out().pictures]).reshape(-1, 64)
    assert len(everything) == 1797
    assert len(np.unique(np.round(everything * 16), axis=0)) == len(
        np.unique(np.round(np.concatenate([*pictures]).reshape(-1, 64) * 16), axis=0)
    ) + len(np.unique(np.round(digits.held_out().pictures.reshape(-1, 64) * 16), axis=0))


def test_a_small_beta_leaves_classes_out_and_a_large_one_does_not() -> None:
    assert np.mean([(counts(i, 0.1) == 0).sum() for i in range(10)]) > 3
    assert np.mean([(counts(i, 50.0) == 0).sum() for i in range(10)]) == 0


def test_a_shared_set_gives_everybody_every_class() -> None:
    assert all((counts(i, 0.1, shared=1.0) > 0).all() for i in range(10))


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(TrainerError, match="cannot be shared out"):
        digits.share(10, 10, 0.5, 0.0, 1)


def test_the_judge_knows_real_digits_and_sees_a_missing_class(tmp_path: Path) -> None:
    unseen = digits.held_out()
    everything = [Image.fromarray((p * 255).astype(np.uint8)) for p in unseen.pictures]
    verdict = digits.judge(everything)
    assert verdict.accuracy > 0.95
    assert verdict.coverage == 1.0
    assert verdict.entropy > 0.99
    digits.write(tmp_path, digits.Share(unseen.pictures[:40], np.zeros(40, dtype=np.int64)))
    ones = unseen.classes == 1
    only = digits.judge([everything[i] for i in np.flatnonzero(ones)])
    assert only.coverage < 0.5


def test_written_digits_survive_the_file(tmp_path: Path) -> None:
    digits.write(tmp_path, digits.held_out())
    assert judge_digits(JudgeDigits(str(tmp_path)), Job())["coverage"] == 1.0
