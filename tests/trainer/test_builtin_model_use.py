"""The built-in model goes the way of any other: train, measure, draw, judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from worker_process import WorkerProcess

from trainer.protocol import (
    AdapterSpec,
    Evaluate,
    Generate,
    InitAdapter,
    Load,
    LoraFile,
    SampleData,
    Train,
)

MODEL = "tiny-landscapes"


@pytest.mark.slow
def test_a_few_steps_in_a_style_help_on_pictures_never_seen(tmp_path: Path) -> None:
    mine, held, out = (str(tmp_path / name) for name in ("mine", "held", "out"))
    prompt = "van_gogh, night, full_moon, sea, boat, scenery"
    with WorkerProcess("full") as worker:
        worker.ready()
        loaded = worker.ask(Load(MODEL))
        assert loaded["resolution"] == 64
        worker.ask(SampleData(mine, 16, "van_gogh", 1, 0))
        worker.ask(SampleData(held, 4, "van_gogh", 1, -2))
        initial = str(tmp_path / "a0")
        worker.ask(InitAdapter(MODEL, AdapterSpec(), 1, initial))
        worker.ask(Train(MODEL, mine, out, AdapterSpec(), 16, initial, batch=4, learning_rate=3e-3))
        drawn = worker.ask(
            Generate(MODEL, (prompt,), (1,), str(tmp_path / "p.png"), (LoraFile(out, 1.0),))
        )
        path = str(drawn["pictures"][0]["path"])
        assert Image.open(path).size == (64, 64)
        plain = str(tmp_path / "mine" / "0000.png")
        result = worker.ask(
            Evaluate(MODEL, held, ("", initial, out), pictures=(path, plain), draws=4)
        )
    losses = result["losses"]
    assert losses[initial] == losses[""]
    assert losses[out] < losses[""]
    assert result["painterly"][plain] == 1.0
    assert set(result["painterly"]) == {path, plain}
    assert result["classifier_accuracy"] >= 0.95
