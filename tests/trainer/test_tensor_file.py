"""Reading and writing safetensors strictly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from trainer.tensor_file import FormatError, read_all, read_header, write


def raw(header: object, data: bytes = b"", text: bytes | None = None) -> bytes:
    encoded = text if text is not None else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(FormatError) as caught:
        read_header(file)
    return str(caught.value)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
        hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
        max_size=5,
    )
)
def test_what_is_written_is_read_by_us_and_by_the_library(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("t") / "a.safetensors"
    write(path, arrays)
    ours, _ = read_all(path)
    theirs = load_file(path)
    assert set(ours) == set(theirs) == set(arrays)
    for name, array in arrays.items():
        assert ours[name].tobytes() == theirs[name].tobytes() == array.tobytes()
        assert ours[name].shape == array.shape


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.float16).reshape(2, 3), "a": np.ones(3, np.float32)}
    save_file(arrays, tmp_path / "x", metadata={"who": "me"})
    ours, metadata = read_all(tmp_path / "x")
    assert metadata == {"who": "me"}
    assert all((ours[name] == array).all() for name, array in arrays.items())


def test_bytes_do_not_depend_on_the_order_of_insertion(tmp_path: Path) -> None:
    a, b = np.ones(3, np.float32), np.zeros((2, 2), np.float32)
    first = write(tmp_path / "1", {"a": a, "b": b}, {"x": "1", "y": "2"})
    second = write(tmp_path / "2", {"b": b, "a": a}, {"y": "2", "x": "1"})
    assert first.sha256 == second.sha256
    header = int.from_bytes((tmp_path / "1").read_bytes()[:8], "little")
    assert header % 8 == 0
    assert first.bytes == (tmp_path / "1").stat().st_size


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write(tmp_path / "x", {"a": np.ones(2, np.complex64)})
    assert list(tmp_path.iterdir()) == []


LYING = {
    "shorter than a header": b"abc",
    "header longer than the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "not JSON": raw(None, text=b"{oops"),
    "not an object": raw([]),
    "space before the brace": raw(None, text=b" {}"),
    "duplicate names": raw(
        None,
        b"\0" * 4,
        text=b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ),
    "duplicate fields": raw(
        None,
        b"\0" * 4,
        text=b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ),
    "unknown field": raw({"a": entry([1], 0, 4) | {"note": "x"}}, b"\0" * 4),
    "unknown type": raw({"a": entry([1], 0, 4, "F31")}, b"\0" * 4),
    "hole": raw({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"\0" * 12),
    "overlap": raw({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, b"\0" * 8),
    "not from zero": raw({"a": entry([1], 4, 8)}, b"\0" * 8),
    "trailing bytes": raw({"a": entry([1], 0, 4)}, b"\0" * 5),
    "too few bytes": raw({"a": entry([2], 0, 8)}, b"\0" * 4),
    "shape against offsets": raw({"a": entry([3], 0, 8)}, b"\0" * 8),
    "negative shape": raw({"a": entry([-1], 0, 4)}, b"\0" * 4),
    "huge shape": raw({"a": entry([1 << 62, 0], 0, 0)}),
    "fractional shape": raw({"a": entry([1], 0, 4) | {"shape": [1.0]}}, b"\0" * 4),
    "NaN in the header": raw(None, text=b'{"a":NaN}'),
    "boolean shape": raw({"a": entry([1], 0, 4) | {"shape": [True]}}, b"\0" * 4),
    "deep nesting": raw(None, text=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "metadata that is no object": raw({"__metadata__": 3}),
    "metadata that is no text": raw({"__metadata__": {"a": 3}}),
    "half a character": raw(None, text=b'{"__metadata__":{"\\ud800":"x"}}'),
    "half a character as a name": raw(
        None, b"\0" * 4, text=b'{"\\udfff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    ),
    "UTF-16": raw(None, text='{"__metadata__":{}}'.encode("utf-16-le")),
    "no UTF-8": raw(None, text=b'{"__metadata__":{"a":"\xff"}}'),
    "zip": b"PK\x03\x04" + b"\0" * 64,
    "pickle": b"\x80\x02}q\x00." + b"\0" * 64,
    "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n",
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING.keys())
def test_files_that_lie_are_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    reason = refusal(tmp_path / "x", content)
    assert reason
    assert "\n" not in reason
    assert len(reason) < 120


def test_a_renamed_checkpoint_is_called_by_its_name(tmp_path: Path) -> None:
    assert "torch.save" in refusal(tmp_path / "x", LYING["zip"])
    assert "pickle" in refusal(tmp_path / "x", LYING["pickle"])
    assert "LFS" in refusal(tmp_path / "x", LYING["git lfs pointer"])


def test_a_header_of_a_million_empty_tensors_is_refused_by_its_size(tmp_path: Path) -> None:
    header = {f"tensor{n}": entry([0], 0, 0) for n in range(1_000_000)}
    assert "larger than" in refusal(tmp_path / "x", raw(header))


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    """0x0280 in little-endian order is how a pickle of protocol 2 begins."""
    empty = len(write(tmp_path / "x", {}, {"a": ""}).path.read_bytes()) - 8
    path = write(tmp_path / "x", {}, {"a": "b" * (length - empty)}).path
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert read_all(path)[1]["a"]
