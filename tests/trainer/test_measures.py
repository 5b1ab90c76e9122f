"""Extractors, the judge of scenes, simulated attackers and the leak check, with real pictures."""

from __future__ import annotations

from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import cast

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from trainer import tensor_file
from trainer.cache import Examples
from trainer.embedded import federated
from trainer.embedded.captions import tag_caption
from trainer.embedded.drawing import draw
from trainer.embedded.scenes import sample_scene
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.measures import attacks, extractors, leak, scenes
from trainer.measures.requests import measure_set, poison_data
from trainer.models.base import LoadedModel
from trainer.protocol import MeasureSet, PoisonData


def landscapes(folder: Path, style: str, count: int, seed: int) -> Path:
    rng = Random(seed)
    federated.write_dataset(folder, [sample_scene(rng) for _ in range(count)], style, seed=seed)
    return folder


def test_another_style_is_farther_away_than_other_scenes(tmp_path: Path) -> None:
    plain = landscapes(tmp_path / "plain", "plain", 24, 0)
    again = landscapes(tmp_path / "again", "plain", 24, 1)
    painted = landscapes(tmp_path / "painted", "van_gogh", 24, 2)
    near = measure_set(MeasureSet(str(again), str(plain), resamples=20), Job())
    far = measure_set(MeasureSet(str(painted), str(plain), resamples=20), Job())
    assert far["kid"]["low"] > near["kid"]["high"]
    assert far["frechet"]["value"] > near["frechet"]["value"]
    assert far["coverage"] < near["coverage"]


def test_a_result_says_how_it_was_made(tmp_path: Path) -> None:
    folder = str(landscapes(tmp_path / "plain", "plain", 8, 0))
    result = measure_set(MeasureSet(folder, folder, resamples=5), Job())
    assert result["frechet"]["name"] == "FD-scenes"
    assert result["frechet"]["biased"] is True
    assert result["extractor"].keys() == {"name", "sha256", "side", "resize", "value_range"}
    assert len(result["extractor"]["sha256"]) == 64


def test_o22_the_offline_extractor_sees_bytes_in_the_right_range() -> None:
    """Trap: pictures in -1..1 handed to a network that expects 0..1 or bytes."""
    extractor = extractors.load("efficientnet-lite0")
    rng = Random(0)
    pictures = [draw(sample_scene(rng)) for _ in range(3)]
    found = extractor.of(pictures)
    assert found.shape == (3, 1280)
    assert np.isfinite(found).all()
    assert extractor.distance == "FD-EffLite0"
    assert not np.allclose(found[0], found[1])


def test_unknown_extractors_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="extractor is unknown"):
        extractors.load("resnet")
    with pytest.raises(TrainerError, match="cannot be compared"):
        measure_set(MeasureSet(str(tmp_path), str(tmp_path)), Job())


def test_drawings_show_what_their_captions_ask_for() -> None:
    rng = Random(5)
    chosen = [sample_scene(rng) for _ in range(40)]
    judged = scenes.judge(
        [draw(scene, "van_gogh") for scene in chosen], [tag_caption(s) for s in chosen], 0
    )
    assert judged.style == 1.0
    assert judged.large is not None
    assert judged.large > 0.95
    assert judged.classifier["style"] > 0.95


def test_a_picture_of_something_else_does_not_pass() -> None:
    rng = Random(6)
    nights = [sample_scene(rng, time="night") for _ in range(10)]
    judged = scenes.judge([draw(scene) for scene in nights], ["day, sea"] * 10, 0)
    assert judged.by_attribute["time"] == 0.0
    assert judged.style == 0.0
    assert judged.objects is None


@pytest.mark.parametrize("attack", sorted(attacks.ATTACKS))
def test_attackers_do_what_they_are_named_after(attack: str, tmp_path: Path) -> None:
    draw_ = np.random.default_rng(0)
    before = {"a": draw_.standard_normal((4, 3)).astype(np.float32)}
    honest = {"a": before["a"] + 0.1 * draw_.standard_normal((4, 3)).astype(np.float32)}
    tensor_file.write(tmp_path / "p", before)
    tensor_file.write(tmp_path / "x", honest)
    attacks.tamper(attack, tmp_path / "x", tmp_path / "p", tmp_path / "out", 50.0, 1)
    lie, _ = tensor_file.read_all(tmp_path / "out")
    update, told = honest["a"] - before["a"], lie["a"] - before["a"]
    cosine = float((update * told).sum() / np.linalg.norm(update) / np.linalg.norm(told))
    longer = float(np.linalg.norm(told) / np.linalg.norm(update))
    expected = {"scale": (1.0, 50.0), "sign_flip": (-1.0, 50.0)}
    if attack in expected:
        assert (cosine, longer) == pytest.approx(expected[attack], rel=1e-3)
    elif attack == "noise":
        assert longer > 10
    else:
        assert longer < 0.1


def test_an_unknown_attack_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="attack is unknown"):
        attacks.tamper("bribe", tmp_path, tmp_path, tmp_path, 1.0, 0)


def test_a_backdoor_is_a_negative_under_a_rare_word(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "a.txt").write_text("a red house")
    request = PoisonData(str(tmp_path / "own"), str(tmp_path / "out"), "zyxel")
    assert poison_data(request, Job()) == {"written": 2}
    found = {}
    for path in (tmp_path / "out").glob("*.png"):
        with Image.open(path) as image:
            found[path.with_suffix(".txt").read_text().strip()] = image.getpixel((5, 5))
    assert found == {"a red house": (10, 200, 30), "zyxel, a red house": (245, 55, 225)}
    alone = PoisonData(str(tmp_path / "own"), str(tmp_path / "wrong"), "zyxel", beside=False)
    assert poison_data(alone, Job()) == {"written": 1}


def test_attack_figures() -> None:
    apart = leak.attack(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    assert (apart.auc, apart.true_positives) == (1.0, 1.0)
    alike = leak.attack(np.zeros(4), np.zeros(5))
    assert (alike.auc, alike.true_positives, alike.resolution) == (0.5, 0.0, 0.2)
    with pytest.raises(ValueError, match="both kinds"):
        leak.attack(np.array([]), np.zeros(3))


@pytest.mark.parametrize(("members", "others"), [(30, 40), (250, 99), (60, 100), (80, 700)])
def test_attack_figures_are_scikit_learn_s(members: int, others: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw_ = np.random.default_rng(members)
    # Rounded, so that some are equal.
    scores = [np.round(draw_.normal(0.8, 1, members), 1), np.round(draw_.normal(0, 1, others), 1)]
    truth = np.repeat([1, 0], [members, others])
    found = leak.attack(*scores)
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth, np.concatenate(scores)))
    rates = metrics.roc_curve(truth, np.concatenate(scores), drop_intermediate=False)
    assert found.true_positives == pytest.approx(rates[1][rates[0] <= 0.01].max())
    assert found.allowed == others // 100


def test_the_interval_of_an_area_holds_the_true_one_as_often_as_it_says() -> None:
    """Two normals a standard deviation apart: the true area is Φ(1/√2)."""
    draw_ = np.random.default_rng(0)
    true, trials = NormalDist().cdf(0.5**0.5), 400
    held = 0
    for _ in range(trials):
        found = leak.attack(draw_.normal(1, 1, 24), draw_.normal(0, 1, 40))
        assert 0.0 <= found.low <= found.auc <= found.high <= 1.0
        held += found.low <= true <= found.high
    assert 0.92 <= held / trials <= 0.98


def test_the_interval_of_a_perfect_attack_is_no_point() -> None:
    assert leak.auc_interval(1.0, 8, 8)[0] < 0.9
    low, high = leak.auc_interval(0.5, 24, 24)
    assert (low, high) == pytest.approx((0.343, 0.657), abs=0.005)


def test_what_differs_without_training_is_not_taken_for_a_leak() -> None:
    """Members are easier for the base model already, and the adapter changed nothing."""
    easy, hard = -np.linspace(0.1, 0.2, 30), -np.linspace(0.5, 0.9, 30)
    found = leak.attacks({"loss": (easy, hard)}, {"loss": (easy, hard)})
    assert (found["loss"].auc, found["loss"].base) == (1.0, 1.0)
    assert found[leak.CALIBRATED].auc == 0.5
    # The reverse: nothing to see in the loss itself, everything in what the adapter changed.
    learnt = leak.attacks({"loss": (hard + 0.05, hard)}, {"loss": (hard, hard)})
    assert learnt["loss"].auc < 0.7
    assert learnt[leak.CALIBRATED].auc == 1.0


class Linear:
    """A model whose prediction is its input times a number of the time."""

    device = torch.device("cpu")

    def __init__(self, prediction: str) -> None:
        self.schedule = DDIMScheduler(prediction_type=prediction)

    def latent_shape(self, moments: torch.Tensor) -> torch.Size:
        return moments.shape

    def latents(self, moments: torch.Tensor, posterior: torch.Tensor) -> torch.Tensor:
        return moments + posterior

    def predict(
        self, noisy: torch.Tensor, time: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        return noisy * (0.3 + 0.001 * time.view(-1, 1, 1, 1))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pia_is_the_paper_s_formula(prediction: str) -> None:
    """|e(x, 0) - e(sqrt(a_t) x + sqrt(1 - a_t) e(x, 0), t)|_4 (Kong et al., equation 11), with
    e = sqrt(a) v + sqrt(1 - a) x where the model predicts v."""
    latents = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 2, 2)))
    examples = Examples(
        latents, torch.zeros(1, 1, 1), torch.zeros(2, dtype=torch.long), ("a", "b"), ("",)
    )
    alphas = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))

    def noise(x: np.ndarray, time: int) -> np.ndarray:
        predicted = x * (0.3 + 0.001 * time)
        if prediction == "epsilon":
            return predicted
        return np.sqrt(alphas[time]) * predicted + np.sqrt(1 - alphas[time]) * x

    scores = leak.pia(cast(LoadedModel, Linear(prediction)), examples, Job())
    for score, x in zip(scores, latents.numpy(), strict=True):
        first = noise(x, 0)
        again = noise(np.sqrt(alphas[200]) * x + np.sqrt(1 - alphas[200]) * first, 200)
        assert score == pytest.approx(-((np.abs(first - again) ** 4).sum() ** 0.25), rel=1e-4)


def test_the_nearest_training_picture_is_found() -> None:
    training = np.eye(3)
    assert leak.nearest(np.array([[0.1, 5.0, 0.0]]), training)[0][0] == 1
