"""How the embedded model is made: pace, checkpoints, teams, and resuming without a difference."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from trainer.embedded.autoencoder import new_autoencoder
from trainer.embedded.denoiser import Denoiser, batch_captions, train_denoiser, training_scenes
from trainer.embedded.pace import Pace, learning_rate
from trainer.embedded.pictures import as_images, as_tensor, fresh_batch
from trainer.embedded.state import load_state, save_state
from trainer.embedded.team import Team


def test_a_pace_ends_by_steps_or_by_the_clock() -> None:
    assert Pace(10, None).progress(5) == 0.5
    assert Pace(10, None).progress(99) == 1.0
    assert Pace(None, 1.0, before=30.0).progress(0) == pytest.approx(0.5, abs=0.05)
    assert Pace(None, 1.0, before=61.0).progress(0) == 1.0


@pytest.mark.parametrize(("steps", "minutes"), [(None, None), (5, 5.0)])
def test_a_pace_needs_one_limit(steps: int | None, minutes: float | None) -> None:
    with pytest.raises(ValueError):
        Pace(steps, minutes)


def test_the_learning_rate_rises_and_ends_at_zero() -> None:
    assert learning_rate(0.0, 0, 1.0, warmup=100) == pytest.approx(0.01)
    assert learning_rate(0.0, 99, 1.0, warmup=100) == pytest.approx(1.0)
    assert learning_rate(0.5, 500, 1.0, warmup=100) == pytest.approx(0.5)
    assert learning_rate(1.0, 999, 1.0, warmup=100) == pytest.approx(0.0)


def test_a_checkpoint_restores_model_and_optimizer(tmp_path: Path) -> None:
    def trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(steps):
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return model, optimizer

    model, optimizer = trained(3)
    path = tmp_path / "state.safetensors"
    save_state(path, 3, 1.5, 0.25, model=model, optimizer=optimizer)
    other, other_optimizer = trained(0)
    assert load_state(path, model=other, optimizer=other_optimizer) == (3, 1.5, 0.25)
    for some in (model, other):
        some(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
    other_optimizer.step()
    assert torch.equal(model.weight, other.weight)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_team_averages_gradients_alike_at_every_member() -> None:
    size, results = 2, {}
    gradients, notice = torch.zeros(size, 4), torch.zeros(size + 1, dtype=torch.float64)
    barrier = threading.Barrier(size)

    def member(rank: int) -> None:
        team = Team(size, rank, gradients, notice, barrier)
        parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1, 2))]
        for p in parameters:
            p.grad = torch.full_like(p, 1.0 + 2 * rank)
        share = team.announce(0.25 if rank == 0 else 0.75)
        loss = team.average(parameters, float(rank))
        results[rank] = share, loss, [p.grad.tolist() for p in parameters if p.grad is not None]

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results[0] == results[1] == (0.25, 0.5, [[2.0, 2.0], [[2.0, 2.0]]])


def test_the_parts_of_a_team_make_the_whole_batch() -> None:
    model = Denoiser(1, torch.device("cpu"))
    scenes = training_scenes(4, seed=1)
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    captions = batch_captions(scenes, 3)
    with torch.no_grad():
        whole = model.loss(latents, captions, 5, slice(0, None, 1))
        halves = [model.loss(latents, captions, 5, slice(rank, None, 2)) for rank in range(2)]
    assert float(sum(halves)) / 2 == pytest.approx(float(whole), rel=0.02)  # bf16


def test_a_tenth_of_the_captions_is_empty() -> None:
    scenes = training_scenes(1, seed=2) * 2000
    captions = batch_captions(scenes, 3)
    assert 0.07 < sum(not text for text in captions) / len(captions) < 0.13
    assert batch_captions(scenes[:50], 3) == captions[:50]


def test_pictures_survive_the_way_to_tensors_and_back() -> None:
    pixels = fresh_batch(3, scenes=2, doodles=2)
    assert pixels.shape == (4, 3, 64, 64)
    assert torch.equal(as_tensor(as_images(pixels)), pixels)
    assert torch.equal(fresh_batch(3, scenes=2, doodles=2), pixels)


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    class Stopping(Pace):
        """Runs towards the same number of steps, but is killed after a few."""

        last = 99

        def progress(self, step: int) -> float:
            if step == self.last:
                raise Stopped
            return super().progress(step)

    device, ends = torch.device("cpu"), []
    torch.manual_seed(0)
    vae = new_autoencoder()
    for name in ("whole", "broken"):
        folder = tmp_path / name
        vae.save_pretrained(folder / "vae")
        if name == "broken":
            killed = Stopping(4, None)
            killed.last = 3  # the checkpoint is of step 2
            with pytest.raises(Stopped):
                train_denoiser(folder, killed, 1, 64, device, print, False, checkpoint_every=2)
        train_denoiser(folder, Pace(4, None), 1, 64, device, print, True)
        model = Denoiser(1, device)
        assert load_state(folder / "unet.state.safetensors", **model.parts())[0] == 4
        ends.append(model.unet.conv_in.weight.detach().clone())
    assert torch.equal(*ends)
