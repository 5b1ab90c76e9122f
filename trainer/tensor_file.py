"""Reading and writing safetensors files with numpy alone, strictly and reproducibly.

The reader accepts less than the safetensors library: no duplicate keys, no unknown fields, a
header that begins with ``{``, tensors that lie without gaps in the order of their offsets. The
writer gives the same bytes for the same tensors on every machine: names sorted, header padded
with spaces to a multiple of eight bytes, little-endian data.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.config import MAX_HEADER

ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one item by the name the format has for its type."""

_NUMPY_TYPES = {"U8": "u1", "F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4"}
_NAMES = {np.dtype(code): name for name, code in _NUMPY_TYPES.items()}
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it; only safetensors is read"),
    (b"\x80\x02", "a Python pickle; only safetensors is read"),
    (b"\x80\x03", "a Python pickle; only safetensors is read"),
    (b"\x80\x04", "a Python pickle; only safetensors is read"),
    (b"\x80\x05", "a Python pickle; only safetensors is read"),
    (b"\x1f\x8b", "a gzip archive; only safetensors is read"),
    (b"GGUF", "a GGUF file; only safetensors is read"),
    (b"version https://git-lfs", "a Git LFS pointer; the file itself was never downloaded"),
)

Array = NDArray[Any]


class FormatError(ValueError):
    """The file is not the safetensors file it should be; the message is one short sentence."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: ``start`` and ``end`` are absolute byte positions in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header: tensors by name in the order of their data."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    metadata_bytes: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read_header(file: BinaryIO, limit: int = MAX_HEADER) -> Header:
    """Reads and checks everything before the data.

    ``limit`` is the largest header in bytes. Raises :class:`FormatError`.
    """
    file.seek(0)
    start = file.read(32)
    for magic, what in _OTHER_FORMATS:
        # A header of 640 bytes begins like a pickle, and only then is the ninth byte a brace.
        if start.startswith(magic) and start[8:9] != b"{":
            raise FormatError(f"it is {what}")
    if len(start) < 8:
        raise FormatError("it is too short to be a safetensors file")
    length = int.from_bytes(start[:8], "little")
    size = file.seek(0, os.SEEK_END)
    if length > size - 8:
        raise FormatError("its header claims more bytes than the file has")
    if length > limit:
        raise FormatError(f"its header of {length} bytes is larger than {limit} allowed")
    file.seek(8)
    text = file.read(length)
    if not text.startswith(b"{"):
        raise FormatError("its header does not begin with '{'")
    data = _strict_json(text)
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("its metadata is not made of strings")
    tensors = [_tensor(name, entry, 8 + length) for name, entry in data.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    position = 8 + length
    for tensor in tensors:
        if tensor.start != position:
            raise FormatError("its tensors overlap or leave gaps")
        position = tensor.end
    if position != size:
        raise FormatError("its size differs from what its header says")
    taken = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    return Header({tensor.name: tensor for tensor in tensors}, metadata, taken)


def _strict_json(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for half in (text for pair in pairs for text in pair if isinstance(text, str)):
            half.encode()  # Half of a surrogate pair is no text.
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError("its header names something twice")
        return found

    def refuse(token: str) -> Any:
        raise FormatError(f"its header contains the number {token[:20]}")

    try:
        data = json.loads(
            text.decode(), object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse
        )
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError("its header is not valid JSON") from error
    if not isinstance(data, dict):
        raise FormatError("its header is no JSON object")
    return data


def _tensor(name: str, entry: Any, origin: int) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError("a tensor in its header has missing or unknown fields")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise FormatError("a tensor in its header has an unknown type")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise FormatError("a tensor in its header has an impossible shape or place")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_SIZES[dtype]:
        raise FormatError("a tensor's shape does not fit its bytes")
    return Tensor(name, dtype, tuple(shape), origin + start, origin + end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in value)


def read_tensor(file: BinaryIO, tensor: Tensor) -> Array:
    """The tensor's values; U8, F16, F32, F64, I32, I64 as they are, BF16 as float32.

    Raises :class:`FormatError` on other types and on a file that became shorter.
    """
    file.seek(tensor.start)
    data = file.read(tensor.end - tensor.start)
    if len(data) != tensor.end - tensor.start:
        raise FormatError("it ends in the middle of a tensor")
    if tensor.dtype == "BF16":
        bits = np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)
        return bits.view("<f4").reshape(tensor.shape)
    if tensor.dtype not in _NUMPY_TYPES:
        raise FormatError(f"it holds values of type {tensor.dtype}, which is not supported")
    return np.frombuffer(data, _NUMPY_TYPES[tensor.dtype]).reshape(tensor.shape)


def mapped(path: Path, limit: int = MAX_HEADER) -> tuple[dict[str, Array], dict[str, str]]:
    """As :func:`read_all`, with the file's own pages for memory: the system fetches them when they
    are looked at and drops them when it needs room. Writing to an array changes no file.

    Raises :class:`FormatError`, and OSError also when the system maps no more files.
    """
    with path.open("rb") as file:
        header = read_header(file, limit)
    arrays: dict[str, Array] = {}
    for name, tensor in header.tensors.items():
        kind = _NUMPY_TYPES.get(tensor.dtype)
        if kind is None:
            raise FormatError(f"it holds values of type {tensor.dtype}, which is not supported")
        arrays[name] = np.memmap(path, kind, "c", tensor.start, tensor.shape)
    return arrays, dict(header.metadata)


def read_all(path: Path, limit: int = MAX_HEADER) -> tuple[dict[str, Array], dict[str, str]]:
    """All tensors and the metadata of a file. Raises :class:`FormatError` and OSError."""
    with path.open("rb") as file:
        header = read_header(file, limit)
        arrays = {name: read_tensor(file, tensor) for name, tensor in header.tensors.items()}
    return arrays, dict(header.metadata)


@dataclass(frozen=True)
class Written:
    """A finished file."""

    path: Path
    sha256: str
    bytes: int


def write_stream(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterable[tuple[str, Array]],
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """Writes float32 tensors that come one at a time, in sorted order of their names.

    The file appears under its name only when it is complete and on disk. Raises ValueError when
    a tensor comes out of order or with another shape than announced.
    """
    entries: dict[str, tuple[str, tuple[int, ...]]] = {n: ("F32", s) for n, s in shapes.items()}
    return _write(path, entries, arrays, metadata)


def write(
    path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> Written:
    """Writes float16, float32, float64 and integer tensors; see :func:`write_stream`."""
    entries = {name: (_NAMES[array.dtype], array.shape) for name, array in arrays.items()}
    return _write(path, entries, ((name, arrays[name]) for name in sorted(arrays)), metadata)


def _write(
    path: Path,
    entries: Mapping[str, tuple[str, tuple[int, ...]]],
    arrays: Iterable[tuple[str, Array]],
    metadata: Mapping[str, str] | None,
) -> Written:
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    expected = iter(sorted(entries))
    try:
        with temporary.open("wb") as file:
            start = _header_bytes(entries, metadata)
            digest.update(start)
            file.write(start)
            for name, array in arrays:
                dtype, shape = entries[name]
                if name != next(expected, None) or array.shape != shape:
                    raise ValueError(f"tensor {name!r} does not follow the announced order")
                data = np.ascontiguousarray(array, _NUMPY_TYPES[dtype]).tobytes()
                digest.update(data)
                file.write(data)
            if next(expected, None) is not None:
                raise ValueError("tensors are missing")
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Written(path, digest.hexdigest(), size)


def _header_bytes(
    entries: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None
) -> bytes:
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    position = 0
    for name in sorted(entries):
        dtype, shape = entries[name]
        end = position + math.prod(shape) * ITEM_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
