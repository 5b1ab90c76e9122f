"""The exact affine combination of low-rank products, against dense float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.aggregate.kernel import (
    SMALLEST_NORMAL,
    Pair,
    Wide,
    combine,
    narrow,
    stack,
    tree_sum,
    tree_sums,
    widen,
)
from trainer.aggregate.products import gram, inner_products, product

COUNTS = (20, 40, 60, 40, 40)
SHARES = [n / 200 for n in COUNTS]
SIZES = [(64, 64), (64, 24), (24, 64), (40, 27 * 9)]
"""Square and not, and a convolution's flattened 3 x 3 kernel."""


def pairs(
    d: int, m: int, ranks: list[int] | None = None, scale: float = 1.0, seed: int = 0
) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [
        Pair(rng.standard_normal((r, m)), scale * rng.standard_normal((d, r)))
        for r in (ranks or [4] * 5)
    ]


def dense(terms: list[Pair], weights: list[float]) -> Wide:
    return np.sum([w * (pair.B @ pair.A) for pair, w in zip(terms, weights, strict=True)], axis=0)


def error(found: Wide, wanted: Wide) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("d", "m"), SIZES)
@pytest.mark.parametrize("scale", [1.0, 2.0, 32 / np.sqrt(4)])
def test_o1_means_and_residual_are_the_mean_of_products(d: int, m: int, scale: float) -> None:
    """With s = α/r, or α/√r of rsLoRA, inside B, for square and other layers."""
    terms = pairs(d, m, scale=scale)
    found = combine(terms, SHARES)
    assert error(found.B @ found.A + found.L @ found.R, dense(terms, SHARES)) < 1e-13
    assert error(found.B @ found.A, dense(terms, SHARES)) > 0.1  # what FedAvg would keep


def test_o2_one_term_comes_back_bit_for_bit_without_residual() -> None:
    only = pairs(30, 20)[0]
    found = combine([only], [1.0])
    assert found.A.tobytes() == only.A.tobytes()
    assert found.B.tobytes() == only.B.tobytes()
    assert found.L.shape == (30, 0)
    assert found.R.shape == (0, 20)


def test_o3_equal_terms_leave_no_residual() -> None:
    one = pairs(30, 20)[0]
    found = combine([one] * 4, [0.25] * 4)
    assert np.abs(found.L @ found.R).max() < 1e-15
    assert error(found.B @ found.A, one.B @ one.A) < 1e-15


def test_o4_without_a_fixed_order_only_rounding_changes() -> None:
    terms = pairs(30, 20)
    one = combine(terms, SHARES)
    other = combine(terms[::-1], SHARES[::-1])
    whole = [each.B @ each.A + each.L @ each.R for each in (one, other)]
    assert error(whole[0], whole[1]) < 1e-14


def test_o5_a_member_counts_like_its_parts() -> None:
    terms = pairs(30, 20)
    parts = [*terms[:2], terms[2], terms[2], *terms[3:]]
    one = combine(terms, SHARES)
    other = combine(parts, [0.1, 0.2, 0.1, 0.2, 0.2, 0.2])
    assert error(one.B @ one.A + one.L @ one.R, other.B @ other.A + other.L @ other.R) < 1e-14
    assert error(one.A, other.A) < 1e-14


def test_o6_the_gauge_of_factors_changes_fedavg_but_not_fedex() -> None:
    terms = pairs(30, 20)
    rng = np.random.default_rng(1)
    turned = []
    for pair in terms:
        Q = rng.standard_normal((4, 4)) + 3 * np.eye(4)
        turned.append(Pair(np.linalg.solve(Q, pair.A), pair.B @ Q))
    one, other = combine(terms, SHARES), combine(turned, SHARES)
    assert error(other.B @ other.A + other.L @ other.R, dense(terms, SHARES)) < 1e-12
    assert error(other.B @ other.A, one.B @ one.A) > 0.1


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_o7_the_residual_has_rank_k_minus_one_times_r(count: int) -> None:
    terms = pairs(40, 30, [3] * count)
    found = combine(terms, [1 / count] * count)
    wanted = dense(terms, [1 / count] * count) - found.B @ found.A
    assert found.L.shape[1] == (count - 1) * 3
    assert (np.linalg.matrix_rank(wanted) if count > 1 else 0) == min((count - 1) * 3, 30)


@pytest.mark.parametrize("ranks", [[4] * 5, [2, 8, 4, 1, 3]])
def test_o8_fedex_is_flora_is_full_rank_flexlora(ranks: list[int]) -> None:
    terms = pairs(30, 20, ranks)
    fedex = combine(terms, SHARES)
    L, R = stack(terms, SHARES)
    U, S, V = np.linalg.svd(dense(terms, SHARES), full_matrices=False)
    for found in (fedex.B @ fedex.A + fedex.L @ fedex.R, L @ R):
        assert error(found, (U * S) @ V) < 1e-13


def test_o9_a_term_of_weight_zero_is_absent() -> None:
    terms = pairs(30, 20)
    one = combine([*terms, pairs(30, 20, seed=9)[0]], [*SHARES, 0.0])
    other = combine(terms, SHARES)
    for part in ("A", "B", "L", "R"):
        assert getattr(one, part).tobytes() == getattr(other, part).tobytes()


def test_o10_with_one_shared_factor_nothing_is_lost() -> None:
    terms = pairs(30, 20)
    for shared in (
        [Pair(terms[0].A, pair.B) for pair in terms],
        [Pair(pair.A, terms[0].B) for pair in terms],
    ):
        found = combine(shared, SHARES)
        assert error(found.B @ found.A, dense(shared, SHARES)) < 1e-15
        assert np.abs(found.L @ found.R).max() < 1e-14


@settings(max_examples=40)
@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.data(),
)
def test_any_weights_that_sum_to_one(
    rest: list[float], d: int, m: int, data: st.DataObject
) -> None:
    weights = [*rest, 1.0 - sum(rest)]
    ranks = data.draw(st.lists(st.integers(1, 4), min_size=len(weights), max_size=len(weights)))
    terms = pairs(d, m, ranks)
    found = combine(terms, weights)
    wanted = dense(terms, weights)
    size = sum(abs(w) for w in weights) * max(np.linalg.norm(p.B @ p.A) for p in terms)
    gap = np.linalg.norm(found.B @ found.A + found.L @ found.R - wanted)
    means = np.linalg.norm(found.B) * np.linalg.norm(found.A)
    assert gap <= 1e-13 * (size + means)


def test_impossible_weights_are_refused() -> None:
    terms = pairs(4, 4)
    for weights in ([0.2] * 4, [0.3] * 5, [0.0] * 5):
        with pytest.raises(ValueError):
            combine(terms, weights)


# --- products whose bytes are the same everywhere ------------------------------------------------
@pytest.mark.parametrize("terms", [1, 7, 320, 9000])
def test_products_are_those_of_blas_up_to_rounding(terms: int) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((11, terms)), rng.standard_normal((terms, 13))
    X[3], Y[:, 2] = 0.0, 1e-30 * Y[:, 2]
    bound = 4e-12 * terms**0.5 * np.abs(X).max(1)[:, None] * np.abs(Y).max(0)[None, :]
    assert (np.abs(product(X, Y) - X @ Y) <= bound).all()
    assert error(gram(X), X @ X.T) < 2e-12
    assert (gram(X) == product(X, X.T)).all()


def test_the_order_of_additions_cannot_change_a_product() -> None:
    """What a BLAS may do on another machine: the same sums in another order, in other blocks."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 999)), rng.standard_normal((999, 6))
    order = rng.permutation(999)
    assert product(X, Y).tobytes() == product(X[:, order], Y[order]).tobytes()
    assert (X @ Y).tobytes() != (X[:, order] @ Y[order]).tobytes()


def test_o11_inner_products_without_products() -> None:
    terms = pairs(40, 30, [4, 2, 8, 1])
    whole = [pair.B @ pair.A for pair in terms]
    wanted = np.array([[(x * y).sum() for x in whole] for y in whole])
    assert np.abs(inner_products(terms) - wanted).max() < 1e-12 * np.abs(wanted).max()


# --- elementwise rules ---------------------------------------------------------------------------
def test_subnormals_count_as_zero() -> None:
    tiny = np.array([1e-40, -1e-40, SMALLEST_NORMAL, -0.0], np.float32)
    assert widen(tiny).tobytes() == np.array([0, 0, SMALLEST_NORMAL, 0.0]).tobytes()
    narrowed = narrow(np.array([1e-40, -0.0, 0.5]))
    assert narrowed.tobytes() == np.array([0, 0, 0.5], np.float32).tobytes()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 1000])
def test_tree_sum_adds_everything(size: int) -> None:
    values = np.arange(1, size + 1, dtype=np.float64)
    assert tree_sum(values) == size * (size + 1) / 2
    assert (tree_sums(np.stack([values, values])) == size * (size + 1) / 2).all()
