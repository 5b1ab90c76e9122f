"""Distances between sets of pictures, against the libraries everybody else uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.measures import distances
from trainer.measures.distances import frechet_distance, kernel_distance, manifold


def features(count: int, width: int = 16, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)) + shift


def test_kernel_distance_equals_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    one, other = features(40), features(40, shift=0.3, seed=1)
    expected = float(poly_mmd(torch.tensor(one), torch.tensor(other), gamma=None))
    assert kernel_distance(one, other, 0, 0).value == pytest.approx(expected, abs=1e-12)


def test_frechet_distance_equals_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    one, other = features(200), features(150, shift=0.2, seed=1)
    moments = [
        (torch.tensor(x.mean(axis=0)), torch.tensor(np.cov(x, rowvar=False))) for x in (one, other)
    ]
    expected = float(_compute_fid(*moments[0], *moments[1]))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_manifold_equals_prdc() -> None:
    from prdc import compute_prdc

    pictures, reference = features(60, shift=0.4), features(80, seed=1)
    expected = compute_prdc(real_features=reference, fake_features=pictures, nearest_k=5)
    ours = manifold(pictures, reference)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(ours, name) == pytest.approx(expected[name], abs=1e-9), name


def test_o22_a_set_is_no_distance_from_itself() -> None:
    one = features(100)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)
    assert manifold(one, one).coverage == 1.0


def test_o22_the_kernel_distance_of_halves_of_one_set_is_about_zero_and_frechet_is_not() -> None:
    kernel, frechet = [], []
    for seed in range(30):
        both = features(200, seed=seed)
        kernel.append(kernel_distance(both[:100], both[100:], 0, 0).value)
        frechet.append(frechet_distance(both[:100], both[100:]))
    error = np.std(kernel) / np.sqrt(len(kernel))
    assert abs(np.mean(kernel)) < 3 * error
    assert min(frechet) > 0.5


def test_o22_the_frechet_distance_falls_with_the_number_of_pictures() -> None:
    values = [frechet_distance(features(n), features(n, seed=1)) for n in (50, 200, 1000)]
    assert values == sorted(values, reverse=True)


def held(shift: float, trials: int = 120) -> float:
    """How often the interval of sixty pictures a side holds the distance of very many."""
    true = kernel_distance(features(3000, 8, shift, 9001), features(3000, 8, seed=9002), 0, 0).value
    inside = 0
    for seed in range(trials):
        one, other = features(60, 8, shift, seed), features(60, 8, seed=10_000 + seed)
        found = kernel_distance(one, other, 200, seed)
        inside += found.low <= (true if shift else 0.0) <= found.high
    return inside / trials


def test_the_interval_holds_the_true_value_about_as_often_as_it_says() -> None:
    assert 0.9 <= held(0.6) <= 0.99


def test_the_interval_is_wide_where_there_is_no_distance() -> None:
    """Two samples of one distribution: the statistic is degenerate, the bootstrap too cautious."""
    assert held(0.0) >= 0.95


@given(st.integers(0, 5))
@settings(max_examples=6)
def test_too_few_pictures_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="neighbours"):
        manifold(features(count), features(50))


def test_one_picture_has_no_distance() -> None:
    with pytest.raises(ValueError, match="two pictures"):
        kernel_distance(features(1), features(9), 0, 0)
    with pytest.raises(ValueError, match="two pictures"):
        frechet_distance(features(1), features(9))


def test_the_bias_is_named_below_2048() -> None:
    assert distances.UNBIASED_FROM == 2048
