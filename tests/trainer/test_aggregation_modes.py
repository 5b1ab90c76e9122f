"""From files to a file: every mode is repeatable to the byte, exact where it says so, and safe."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer import room_adapter
from trainer.adapter import A_SUFFIX, B_SUFFIX, DENSE_SUFFIX, factor_shapes, initial_factors
from trainer.aggregate import dense
from trainer.aggregate.combination import Combination, combine
from trainer.aggregate.files import ROUNDS_KEY
from trainer.aggregate.modes import LOW_RANK, MODES, trained_factors
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.protocol import RuleSpec, WeightedFile
from trainer.tensor_file import read_all, write

LAYERS = {"a.to_q": (20, 20), "a.to_k": (20, 12), "b.conv": (7, 11, 3, 3), "b.to_v": (17, 33)}
SHAPES = factor_shapes(LAYERS, 4)
COUNTS = (20, 40, 60, 40, 40)
SEED = 3
EXACT = ("fedex", "stack", "ffa", "rolora")

GOLDEN = {
    "fedex": "b9eb8ab66a25e027d014c971fba59890c2adde2f45599b395d799396b992e53f",
    "fedavg": "5b45ba083ae848e0a13b3524cc07db4251babfebeaa0549a54f3287f5efed3e6",
    "stack": "e144d0558cfcf63f7eff72eb9ba45badf40f57e6dd0086316a85f42fcdf39fb6",
    "ffa": "d36d0d41fc40b4ad33ace53ab6382f4cca90232ddf028d0dc0f42587e59bb479",
    "rolora": "9aa4180305e798526d80e67cb6450b1be1ee615f778d351d3c620ea0d4f70529",
    "dense": "c474f8ec10ec5b8055380cfa64ba3777758175a838f5cd64f003fb8170d9130a",
}
"""SHA-256 of two rounds' result for the inputs below, on every machine."""


def stranger(path: Path, seed: int, names: Sequence[str], size: float = 0.1) -> Path:
    """Factors from SHAKE-128 alone, so that the golden vectors need no generator of numpy."""
    arrays = {}
    for name in names:
        shape = SHAPES[name]
        digest = hashlib.shake_128(f"{seed}{name}".encode()).digest(4 * math.prod(shape))
        words = np.frombuffer(digest, "<i4").astype(np.float64) / 2**31
        arrays[name] = (words * size).astype(np.float32).reshape(shape)
    return write(path, arrays).path


def trained(mode: str, rounds: int = 0) -> list[str]:
    """Names of the tensors that members send in a round."""
    if mode == "dense":
        return sorted(SHAPES)
    parts = trained_factors(mode, rounds)
    return sorted(n for n in SHAPES if (A_SUFFIX if "A" in parts else "!") in n
                  or (B_SUFFIX if "B" in parts else "!") in n)  # fmt: skip


class Room:
    """A room's files, round after round."""

    def __init__(self, folder: Path, mode: str = "fedex", rule: RuleSpec | None = None) -> None:
        self.folder, self.mode, self.rule = folder, mode, rule or RuleSpec()
        self.state = write(folder / "state-0", dict(initial_factors(SHAPES, SEED))).path
        self.rounds = 0

    def inputs(self, counts: Sequence[int] = COUNTS, size: float = 0.1) -> list[WeightedFile]:
        return [
            WeightedFile(f"id{n}", str(self.stranger(n, size)), count)
            for n, count in enumerate(counts)
        ]

    def stranger(self, number: int, size: float = 0.1) -> Path:
        path = self.folder / f"in-{self.rounds}-{number}"
        return stranger(path, 10 * self.rounds + number, trained(self.mode, self.rounds), size)

    def combine(
        self, inputs: Sequence[WeightedFile], out: str = "out", *, late: bool = False
    ) -> Combination:
        state, path = self.state, self.folder / out
        return combine(self.mode, inputs, state, path, Job(), self.rule, SEED, late=late)

    def advance(self, inputs: Sequence[WeightedFile] | None = None) -> Combination:
        self.rounds += 1
        done = self.combine(inputs or self.inputs_of_last(), f"state-{self.rounds}")
        self.state = done.written.path
        return done

    def inputs_of_last(self) -> list[WeightedFile]:
        self.rounds -= 1
        inputs = self.inputs()
        self.rounds += 1
        return inputs

    def product(self, path: Path) -> dict[str, np.ndarray]:
        """B·A of every layer; a factor the file does not hold is the room's."""
        arrays = read_all(self.state)[0] | read_all(path)[0]
        found = {}
        for name, shape in LAYERS.items():
            A = arrays[name + A_SUFFIX].astype(np.float64)
            B = arrays[name + B_SUFFIX].astype(np.float64)
            found[name] = (B.reshape(shape[0], -1) @ A.reshape(A.shape[0], -1)).reshape(shape)
        return found


def effective(path: Path) -> dict[str, np.ndarray]:
    """B·A + E of every layer, multiplied in float64."""
    found = {}
    for name, factors in room_adapter.read(path).exact().items():
        A, B = factors.A.astype(np.float64), factors.B.astype(np.float64)
        whole = B.reshape(B.shape[0], -1) @ A.reshape(A.shape[0], -1)
        found[name] = whole.reshape(LAYERS[name])
    return found


def mean_of(room: Room, inputs: Sequence[WeightedFile]) -> dict[str, np.ndarray]:
    """Σ p_k B_k A_k."""
    total = sum(item.weight for item in inputs)
    products = [(item.weight / total, room.product(Path(item.path))) for item in inputs]
    return {name: sum(p * each[name] for p, each in products) for name in LAYERS}  # type: ignore[misc]


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """‖one - other‖ / ‖other‖ over all layers."""
    lost = sum(float(((one[name] - other[name]) ** 2).sum()) for name in LAYERS)
    return math.sqrt(lost / sum(float((value**2).sum()) for value in other.values()))


@pytest.mark.parametrize("mode", MODES)
def test_golden_vectors(mode: str, tmp_path: Path) -> None:
    room = Room(tmp_path, mode, RuleSpec("clip", ema_milli=900, outer_momentum_milli=500))
    room.advance()
    assert room.advance().written.sha256 == GOLDEN[mode]


@pytest.mark.parametrize("mode", MODES)
def test_o4_the_order_of_arrival_does_not_matter(mode: str, tmp_path: Path) -> None:
    room = Room(tmp_path, mode)
    one, other = room.combine(room.inputs(), "1"), room.combine(room.inputs()[::-1], "2")
    assert one.written.sha256 == other.written.sha256
    assert one.participants == other.participants


@pytest.mark.parametrize("mode", EXACT)
def test_o1_an_exact_mode_is_the_mean_of_products_over_several_rounds(
    mode: str, tmp_path: Path
) -> None:
    """O1, O8, O10: W0 + E + B̄Ā = W0 + E_before + Σ p_k B_k A_k; float32 rounds each file."""
    room = Room(tmp_path, mode)
    for _ in range(4):
        inputs = room.inputs()
        before = effective(room.state)
        factors = room.product(room.state)
        wanted = {
            name: before[name] - factors[name] + product
            for name, product in mean_of(room, inputs).items()
        }
        room.advance(inputs)
        assert distance(effective(room.state), wanted) < 1e-6


def test_averaged_factors_are_not_the_mean_of_products(tmp_path: Path) -> None:
    room = Room(tmp_path, "fedavg")
    inputs = room.inputs()
    wanted = mean_of(room, inputs)
    done = room.advance(inputs)
    lost = distance(effective(room.state), wanted)
    assert lost > 0.1
    assert done.residual_share == pytest.approx(lost, rel=1e-5)


def test_the_lost_share_is_measured_where_nothing_is_lost(tmp_path: Path) -> None:
    shares = []
    for mode in ("fedavg", "fedex"):
        (tmp_path / mode).mkdir()
        room = Room(tmp_path / mode, mode)
        shares.append(room.combine(room.inputs()).residual_share)
    assert shares[0] == pytest.approx(shares[1])
    room = Room(tmp_path / mode, "ffa")
    assert room.combine(room.inputs()).residual_share < 1e-7


@pytest.mark.parametrize("mode", ["fedex", "fedavg"])
def test_o2_one_contribution_comes_back_unchanged(mode: str, tmp_path: Path) -> None:
    """O2."""
    room = Room(tmp_path, mode)
    only = room.inputs()[2]
    done = room.combine([only])
    assert read_all(done.written.path)[0].keys() == SHAPES.keys()
    for name, array in read_all(Path(only.path))[0].items():
        assert read_all(done.written.path)[0][name].tobytes() == array.tobytes()
    assert done.branch_rank == 0
    assert done.residual_share == 0.0


def test_o9_scaling_all_weights_changes_nothing(tmp_path: Path) -> None:
    """O9."""
    room = Room(tmp_path)
    inputs = room.inputs()
    scaled = [replace(i, weight=i.weight * 97) for i in inputs]
    assert room.combine(inputs, "1").written.sha256 == room.combine(scaled, "2").written.sha256


def test_the_branch_grows_to_a_matrix_and_no_further(tmp_path: Path) -> None:
    """min(rank · (d + m), d · m) numbers per layer, whatever the number of rounds."""
    room = Room(tmp_path)
    sizes = []
    for _ in range(3):
        done = room.advance()
        arrays, metadata = read_all(room.state)
        sizes.append(done.written.bytes)
        for name, shape in LAYERS.items():
            out, into = shape[0], math.prod(shape[1:])
            branch = [a.size for n, a in arrays.items() if n.startswith(name + ".residual")]
            assert sum(branch) <= out * into
    assert metadata == {ROUNDS_KEY: "3"}
    assert done.whole_layers == len(LAYERS)
    assert all(name + DENSE_SUFFIX in arrays for name in LAYERS)
    assert sizes[1] == sizes[2]


def test_every_mode_says_what_its_members_send(tmp_path: Path) -> None:
    sizes = {mode: Room(tmp_path, mode).stranger(1).stat().st_size for mode in LOW_RANK}
    assert sizes["ffa"] == sizes["rolora"] < 0.75 * sizes["fedex"]
    assert [trained_factors("rolora", rounds) for rounds in range(3)] == ["B", "A", "B"]


def test_stacking_begins_anew_where_the_seed_says(tmp_path: Path) -> None:
    room = Room(tmp_path, "stack")
    first = read_all(room.state)[0]
    room.advance()
    second = read_all(room.state)[0]
    room.advance()
    third = read_all(room.state)[0]
    name = "a.to_q" + A_SUFFIX
    assert len({array[name].tobytes() for array in (first, second, third)}) == 3
    assert not any(third[layer + B_SUFFIX].any() for layer in LAYERS)


def test_statistics_are_those_of_the_true_updates(tmp_path: Path) -> None:
    room = Room(tmp_path, rule=RuleSpec("uniform"))
    room.advance()
    inputs = room.inputs()
    before = room.product(room.state)

    def flat(products: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([(products[n] - before[n]).ravel() for n in LAYERS])

    updates = [flat(room.product(Path(item.path))) for item in inputs]
    step = sum(updates) / len(updates)  # type: ignore[arg-type]
    done = room.combine(inputs)
    assert [each.weight for each in done.participants] == [0.2] * 5
    for each, update in zip(done.participants, updates, strict=True):
        assert each.norm == pytest.approx(np.linalg.norm(update), rel=1e-9)
        cosine = update @ step / (np.linalg.norm(update) * np.linalg.norm(step))
        assert each.cosine == pytest.approx(cosine, rel=1e-9)
        assert each.bytes == Path(inputs[0].path).stat().st_size


# --- dense ---------------------------------------------------------------------------------------
def test_dense_is_the_weighted_mean_of_weights(tmp_path: Path) -> None:
    room = Room(tmp_path, "dense")
    inputs = room.inputs()
    room.advance(inputs)
    files = [read_all(Path(item.path))[0] for item in inputs]
    for name, value in read_all(room.state)[0].items():
        wanted = sum(
            n / 200 * each[name].astype("f8") for n, each in zip(COUNTS, files, strict=True)
        )
        assert np.abs(value - wanted).max() < 1e-8


def test_the_size_of_a_piece_changes_no_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(tmp_path, "dense")
    whole = room.combine(room.inputs(), "1").participants
    monkeypatch.setattr(dense, "PIECE", 7)
    for one, other in zip(whole, room.combine(room.inputs(), "2").participants, strict=True):
        assert other.norm == pytest.approx(one.norm, rel=1e-9)
        assert other.cosine == pytest.approx(one.cosine, rel=1e-9)


def test_o13_a_plain_outer_step_is_the_mean_itself(tmp_path: Path) -> None:
    """O13: DiLoCo with rate 1 and no momentum is FedAvg, exactly."""
    room = Room(tmp_path, "dense")
    plain = room.combine(room.inputs(), "1").written.sha256
    room.rule = RuleSpec(outer_rate_milli=1000, outer_momentum_milli=0)
    assert room.combine(room.inputs(), "2").written.sha256 == plain


def test_dense_keeps_velocity_and_moving_average(tmp_path: Path) -> None:
    room = Room(
        tmp_path,
        "dense",
        RuleSpec("uniform", ema_milli=900, outer_rate_milli=700, outer_momentum_milli=900),
    )
    name = "a.to_q" + A_SUFFIX
    x = read_all(room.state)[0][name].astype(np.float64)
    v, e = np.zeros_like(x), None
    for _ in range(3):
        inputs = room.inputs()
        delta = sum(read_all(Path(i.path))[0][name].astype("f8") for i in inputs) / 5 - x
        v = 0.9 * v + delta
        x = x + 0.7 * (delta + 0.9 * v)
        e = x if e is None else 0.9 * e + 0.1 * x
        room.advance(inputs)
        arrays = read_all(room.state)[0]
        assert np.abs(arrays[name] - x).max() < 1e-6
        assert np.abs(arrays["velocity/" + name] - v).max() < 1e-6
        assert np.abs(arrays["ema/" + name] - e).max() < 1e-6


# --- what rooms meet -----------------------------------------------------------------------------
def test_another_members_bytes_count_once(tmp_path: Path) -> None:
    """Whoever comes first, and whatever a thief states of a copy to make the update small."""
    room = Room(tmp_path)
    inputs = room.inputs()
    alone = room.combine(inputs, "alone")
    copied, disguised = tmp_path / "copied", tmp_path / "disguised"
    shutil.copyfile(inputs[1].path, copied)
    write(disguised, read_all(Path(inputs[1].path))[0], {"fedtui.steps": "0"})
    for thief in (copied, disguised):
        for name, first, second in (("id9", "id1", "id9"), ("id0+", "id0+", "id1")):
            done = room.combine([*inputs, WeightedFile(name, str(thief), 1)])
            found = {each.id: each for each in done.participants}
            assert (
                found[second].excluded == f"the same numbers as those of {first}: they count once"
            )
            assert found[second].weight == 0.0
            assert found[first].samples == COUNTS[1]
            assert done.written.sha256 == alone.written.sha256


def test_a_contribution_of_another_round_is_left_out(tmp_path: Path) -> None:
    room = Room(tmp_path, "rolora")
    late = room.inputs()[0]
    room.advance()
    inputs = room.inputs()
    done = room.combine([*inputs[1:], replace(late, id="id0")])
    assert done.participants[0].excluded == "it lacks factors A in this round"
    old = write(tmp_path / "old", read_all(Path(inputs[0].path))[0], {ROUNDS_KEY: "0"}).path
    done = room.combine([*inputs[1:], WeightedFile("id0", str(old), 1)])
    assert "after 0 combinations, not 1" in done.participants[0].excluded
    assert sum(each.weight for each in done.participants) == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["fedavg", "stack", "ffa"])
def test_late_work_counts_one_combination_later_where_it_means_the_same(
    tmp_path: Path, mode: str
) -> None:
    room = Room(tmp_path, mode, RuleSpec("fedbuff", cap_milli=0))
    for _ in range(2):
        room.advance()
    first, *rest = room.inputs([10] * 4)
    factors = read_all(Path(first.path))[0]
    for began, weight in (("1", 1 / 2**0.5), ("0", 0.0)):
        old = write(tmp_path / f"old-{began}", factors, {ROUNDS_KEY: began}).path
        inputs = [WeightedFile("id0", str(old), 10), *rest]
        done = room.combine(inputs, late=True)
        shares = [each.weight for each in done.participants]
        assert shares[0] == pytest.approx(weight * shares[1])
        assert room.combine(inputs).participants[0].weight == 0.0


@pytest.mark.parametrize("mode", ["fedex", "rolora"])
def test_late_work_never_counts_where_its_base_has_moved(tmp_path: Path, mode: str) -> None:
    room = Room(tmp_path, mode)
    for _ in range(2):
        room.advance()
    first, *rest = room.inputs()
    old = write(tmp_path / "old", read_all(Path(first.path))[0], {ROUNDS_KEY: "1"}).path
    done = room.combine([WeightedFile("id0", str(old), 1), *rest], late=True)
    assert done.participants[0].weight == 0.0


def test_what_fits_no_layer_is_left_out(tmp_path: Path) -> None:
    room = Room(tmp_path)
    inputs = room.inputs()
    honest = read_all(Path(inputs[0].path))[0]
    name = "a.to_q" + A_SUFFIX
    wrong = {
        "missing": {n: a for n, a in honest.items() if not n.startswith("b.")},
        "extra": honest | {"z.lora_A.weight": np.ones((4, 2), np.float32)},
        "shape": honest | {name: np.ones((4, 21), np.float32)},
        "kernel": honest | {name: np.ones((4, 20, 1, 1), np.float32)},
    }
    for label, arrays in wrong.items():
        path = write(tmp_path / label, arrays).path
        done = room.combine([*inputs[1:], WeightedFile("id0", str(path), 20)])
        assert done.participants[0].excluded, label
        assert done.participants[1].weight > 0


def test_other_ranks_are_padded_exactly(tmp_path: Path) -> None:
    room = Room(tmp_path)
    inputs = room.inputs()
    wide = {
        name: np.concatenate([array, array[:2]], axis=0)
        if name.endswith(A_SUFFIX)
        else np.concatenate([array, array[:, :2]], axis=1)
        for name, array in read_all(Path(inputs[0].path))[0].items()
    }
    inputs[0] = replace(inputs[0], path=str(write(tmp_path / "wide", wide).path))
    wanted = mean_of(room, inputs)
    done = room.combine(inputs)
    assert room_adapter.read(done.written.path).factors["a.to_q"].rank == 6
    assert distance(effective(done.written.path), wanted) < 1e-6


def test_a_room_whose_rule_refuses_keeps_its_adapter(tmp_path: Path) -> None:
    room = Room(tmp_path, rule=RuleSpec("multi_krum", byzantine=2))
    done = room.combine(room.inputs())
    assert done.written.sha256 == hashlib.sha256(room.state.read_bytes()).hexdigest()
    assert "needs 7 contributions to tolerate 2; there are 5" in done.note
    assert all(each.weight == 0 and each.excluded for each in done.participants)


def test_a_round_of_nothing_usable_keeps_the_adapter(tmp_path: Path) -> None:
    room = Room(tmp_path, "ffa")
    other = write(tmp_path / "other", dict(initial_factors(SHAPES, 1))).path
    done = room.combine([WeightedFile("x", str(other), 1)])
    assert done.note == "no contribution could be used"
    assert done.written.path.read_bytes() == room.state.read_bytes()


def test_an_unchanged_contribution_has_no_direction(tmp_path: Path) -> None:
    room = Room(tmp_path)
    done = room.combine([WeightedFile("lazy", str(room.state), 5)])
    (lazy,) = done.participants
    assert (lazy.norm, lazy.cosine) == (0.0, 0.0)


@pytest.mark.parametrize("weights", [(0, 1), (-1, 1), (1 << 29, 1), (1 << 40, 1)])
def test_impossible_weights_are_refused(tmp_path: Path, weights: tuple[int, int]) -> None:
    room = Room(tmp_path)
    wrong = [replace(i, weight=w) for i, w in zip(room.inputs(), weights, strict=False)]
    with pytest.raises(TrainerError) as caught:
        room.combine(wrong)
    assert caught.value.code == 2


def test_misuse_is_refused(tmp_path: Path) -> None:
    room = Room(tmp_path)
    inputs = room.inputs()
    for wrong in ([], [inputs[0], inputs[0]], [WeightedFile("x", str(tmp_path / "none"), 1)]):
        with pytest.raises(TrainerError):
            room.combine(wrong)
    with pytest.raises(TrainerError, match="unknown") as caught:
        combine("fedsum", inputs, room.state, tmp_path / "out", Job())
    assert "fedex, fedavg" in caught.value.remedy
    with pytest.raises(TrainerError) as caught:
        combine("fedex", inputs, room.state, tmp_path / "out", Job(), RuleSpec("loudest"))
    assert "rfa" in caught.value.cause
    assert not (tmp_path / "out").exists()


def test_nan_that_slipped_in_is_refused(tmp_path: Path) -> None:
    room = Room(tmp_path)
    inputs = room.inputs()
    arrays = {n: a.copy() for n, a in read_all(Path(inputs[0].path))[0].items()}
    arrays["a.to_q.lora_A.weight"][0, 0] = np.nan
    bad = write(tmp_path / "nan", arrays)
    with pytest.raises(TrainerError, match="combined"):
        room.combine([replace(inputs[0], path=str(bad.path))])
