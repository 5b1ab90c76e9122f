"""A stranger's LoRA file is read or refused in words; nothing else ever happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer import lora_file
from trainer.errors import TrainerError
from trainer.lora_file import Architecture, parsing
from trainer.lora_file.dialects import DIALECTS
from trainer.lora_file.known import UNetNumbers, clip_layers
from trainer.tensor_file import write

UNET = UNetNumbers(6, widths=(4, 8), depths=(1, 0)).shapes()
BASE = Architecture(
    "base", "unet", {"unet": UNET, "text_encoder": clip_layers(4, 1, projected=False)}, "s", "v"
)
STEMS = [stem for d in DIALECTS for stems in d.stems(BASE).values() for stem in stems[:1]]
SUFFIXES = sorted({suffix for dialect in DIALECTS for suffix in dialect.suffixes})
KEYS = st.one_of(
    st.text(max_size=20),
    st.builds(str.__add__, st.sampled_from(STEMS[::7]), st.sampled_from(SUFFIXES)),
    st.sampled_from(["", ".", ":", "unet:0", "lora_", "unet.", ".alpha", "unet:99999999999:up"]),
)
ARRAYS = st.one_of(
    st.just(np.float32(2.0).reshape(())),
    st.sampled_from([np.zeros((0,), np.float32), np.zeros((2, 0), np.float32)]),
    st.builds(
        lambda shape, kind: np.ones(shape, kind),
        st.lists(st.integers(1, 8), max_size=5),
        st.sampled_from([np.float32, np.float16, np.float64, np.int64]),
    ),
    st.just(np.full((2, 4), np.nan, np.float32)),
)
METADATA = st.dictionaries(
    st.sampled_from(["lora_adapter_metadata", "<s1>", "format", "x"]),
    st.sampled_from(
        ["", "{", "[]", "null", "<embed>", '{"unet.lora_alpha": "x"}', '{"unet.lora_alpha": 1e400}',
         '{"unet.alpha_pattern": {"to_q": null}}', '{"unet.alpha_pattern": [1]}', "[" * 5000]
    ),
    max_size=3,
)  # fmt: skip


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(arrays=st.dictionaries(KEYS, ARRAYS, max_size=6), metadata=METADATA)
def test_any_tensors_under_any_names_are_read_or_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    arrays = {key: value for key, value in arrays.items() if key != "__metadata__"}
    path = write(tmp_path / "x", arrays, metadata).path
    for look in (lambda: lora_file.read(path, BASE), lambda: lora_file.inspect(path)):
        try:
            look()
        except TrainerError as error:
            refused = (error.title, error.cause, error.remedy)
        else:
            continue
        assert all(refused)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39, -np.inf])
def test_an_alpha_that_is_no_strength_is_refused(tmp_path: Path, value: float) -> None:
    stem = "lora_unet_conv_in"
    arrays = {
        f"{stem}.lora_down.weight": np.ones((1, 4, 3, 3), np.float32),
        f"{stem}.lora_up.weight": np.ones((4, 1, 1, 1), np.float32),
        f"{stem}.alpha": np.float64(value).reshape(()),
    }
    write(tmp_path / "x", arrays)
    with pytest.raises(TrainerError) as caught:
        lora_file.read(tmp_path / "x", BASE)
    assert "NaN or infinity" in caught.value.cause


def test_a_file_of_very_many_layers_is_refused_before_its_values_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MAX_LAYERS", 3)
    arrays = {
        f"unet.x{n}.lora_{part}.weight": np.ones((1, 1), np.float32)
        for n in range(4)
        for part in "AB"
    }
    write(tmp_path / "x", arrays)
    with pytest.raises(TrainerError) as caught:
        lora_file.inspect(tmp_path / "x")
    assert "more than 3 layers" in caught.value.cause
