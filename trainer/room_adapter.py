"""A room's adapter: the factors that are trained, and the frozen branch beside them.

W = W0 + E + B·A per layer. E holds what exact aggregation found beyond the factors, as low-rank
factors or, where that is smaller, as one float32 matrix. It is never folded into 16-bit weights:
bfloat16 would lose 93 % of a residual of size 1e-5. As a LoRA file the same function has factors
[B | E_B] and [A; E_A]; a whole matrix E is I·E or E·I, exact and of full rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import tensor_file
from trainer.adapter import (
    A_SUFFIX,
    B_SUFFIX,
    DENSE_SUFFIX,
    RESIDUAL_A_SUFFIX,
    RESIDUAL_B_SUFFIX,
    FloatArray,
)
from trainer.aggregate.files import ROUNDS_KEY, layers_of
from trainer.errors import TrainerError
from trainer.lora_file import Factors
from trainer.models.base import Shape
from trainer.tensor_file import FormatError

EXPORTED_ROUNDS = "fedtui.combinations"
"""Metadata of an export: what :data:`ROUNDS_KEY` said in the room's file."""
EXPORTED_RANKS = "fedtui.ranks"
"""Metadata of an exact export: the rank of every layer in the order of their names, which formats
may pad."""
BRANCH_SUFFIXES = (RESIDUAL_A_SUFFIX, RESIDUAL_B_SUFFIX, DENSE_SUFFIX)


@dataclass(frozen=True)
class Branch:
    """A layer's frozen E: ``factors`` of low rank, or the ``whole`` matrix, float32."""

    factors: Factors | None = None
    whole: FloatArray | None = None

    def as_factors(self) -> Factors:
        """Factors whose product is E, exactly."""
        if self.factors is not None:
            return self.factors
        assert self.whole is not None
        out, rest = self.whole.shape[0], self.whole.shape[1:]
        into, ones = math.prod(rest), (1,) * len(rest[1:])
        if out <= into:
            return Factors(self.whole, np.eye(out, dtype=np.float32).reshape(out, out, *ones))
        A = np.eye(into, dtype=np.float32).reshape(into, *rest)
        return Factors(A, self.whole.reshape(out, into, *ones))

    def as_matrix(self) -> FloatArray:
        """E in the shape of the layer's weight, float32."""
        if self.whole is not None:
            return self.whole
        assert self.factors is not None
        return multiplied(self.factors)

    @property
    def arrays(self) -> tuple[FloatArray, ...]:
        """The whole matrix, or A and B."""
        if self.factors is not None:
            return self.factors.A, self.factors.B
        assert self.whole is not None
        return (self.whole,)

    def plus(self, other: Branch) -> Branch:
        """The sum of two branches of one layer."""
        if self.factors is not None and other.factors is not None:
            return Branch(joined(self.factors, other.factors))
        return Branch(whole=self.as_matrix() + other.as_matrix())

    def scaled(self, weight: float) -> Branch:
        """weight · E."""
        if self.factors is not None:
            return Branch(Factors(self.factors.A, self.factors.B * np.float32(weight)))
        assert self.whole is not None
        return Branch(whole=self.whole * np.float32(weight))


@dataclass(frozen=True)
class RoomAdapter:
    """Factors and branches by layer, and how many combinations lie behind them."""

    factors: Mapping[str, Factors]
    branches: Mapping[str, Branch]
    rounds: int

    def exact(self) -> dict[str, Factors]:
        """Ordinary LoRA factors of the same function: the ranks of factors and branch add up."""
        found = {}
        for name, own in self.factors.items():
            branch = self.branches.get(name)
            found[name] = own if branch is None else joined(own, branch.as_factors())
        return found

    def truncated(self, rank: int) -> tuple[dict[str, Factors], float]:
        """The best factors of at most this rank, and ‖error‖ / ‖adapter‖ over all layers.

        Eckart and Young: the largest singular values of B·A + E, found by a QR of both factors and
        a small SVD. The factors share the singular values evenly.
        """
        found, lost, total = {}, 0.0, 0.0
        for name, factors in self.exact().items():
            shape = _weight_shape(factors)
            A = factors.A.astype(np.float64).reshape(factors.rank, -1)
            B = factors.B.astype(np.float64).reshape(-1, factors.rank)
            left, inner = np.linalg.qr(B)
            right, outer = np.linalg.qr(A.T)
            U, values, V = np.linalg.svd(inner @ outer.T)
            kept = min(rank, len(values))
            root = np.sqrt(values[:kept])
            found[name] = shaped(root[:, None] * (V[:kept] @ right.T), (left @ U[:, :kept]) * root,
                                 shape)  # fmt: skip
            lost += float((values[kept:] ** 2).sum())
            total += float((values**2).sum())
        return found, math.sqrt(lost / total) if total else 0.0


def is_room_adapter(path: Path) -> bool:
    """Whether a file is a room's adapter rather than another program's LoRA file."""
    try:
        with path.open("rb") as file:
            header = tensor_file.read_header(file)
    except (OSError, FormatError):
        return False
    return ROUNDS_KEY in header.metadata or any(
        name.endswith(BRANCH_SUFFIXES) for name in header.tensors
    )


def read(path: Path) -> RoomAdapter:
    """Reads the adapter of a room or its first one. Raises :class:`TrainerError`."""
    try:
        with path.open("rb") as file:
            header = tensor_file.read_header(file)
            arrays = {
                name: tensor_file.read_tensor(file, tensor).astype(np.float32)
                for name, tensor in header.tensors.items()
            }
        layers = layers_of(header)
    except (OSError, FormatError) as error:
        raise TrainerError("The adapter cannot be read", f"{path}: {error}") from error
    factors = {n: Factors(arrays[n + A_SUFFIX], arrays[n + B_SUFFIX]) for n in layers}
    branches = {n: branch for n in layers if (branch := _branch(arrays, n)) is not None}
    rounds = header.metadata.get(ROUNDS_KEY, "0")
    return RoomAdapter(factors, branches, int(rounds) if rounds.isdigit() else 0)


def export_notes(room: RoomAdapter) -> dict[str, str]:
    """What an exact export must say so that :func:`restored` can undo it."""
    ranks = [factors.rank for _, factors in sorted(room.exact().items())]
    return {EXPORTED_ROUNDS: str(room.rounds), EXPORTED_RANKS: ",".join(map(str, ranks))}


def restored(layers: Mapping[str, Factors], rank: int, notes: Mapping[str, str]) -> RoomAdapter:
    """The adapter whose :meth:`RoomAdapter.exact` these factors are, up to padding with zeros.

    ``rank`` is that of the factors, ``notes`` are those of :func:`export_notes`. A branch of low
    rank has fewer numbers than a matrix, so one of full rank was a matrix. Raises
    :class:`TrainerError` when no room's adapter of this rank gives these factors.
    """
    own: dict[str, Factors] = {}
    branches: dict[str, Branch] = {}
    rounds, listed = notes.get(EXPORTED_ROUNDS, ""), notes.get(EXPORTED_RANKS, "").split(",")
    if not rounds.isdecimal() or len(listed) != len(layers) or not all(map(str.isdecimal, listed)):
        raise TrainerError("This is no exact export", "It does not say how it was made.")
    for (name, padded), count in zip(sorted(layers.items()), map(int, listed), strict=True):
        if not rank <= count <= padded.rank:
            raise TrainerError("This is no exact export", f"{name} has rank {padded.rank}.")
        factors = Factors(padded.A[:count], padded.B[:, :count])
        own[name] = Factors(factors.A[:rank], np.ascontiguousarray(factors.B[:, :rank]))
        rest = Factors(factors.A[rank:], np.ascontiguousarray(factors.B[:, rank:]))
        if rest.rank:
            branches[name] = _restored_branch(rest)
    return RoomAdapter(own, branches, int(rounds))


def _restored_branch(rest: Factors) -> Branch:
    shape = _weight_shape(rest)
    out, into = shape[0], math.prod(shape[1:])
    if rest.rank != min(out, into):
        return Branch(rest)
    whole = rest.A if out <= into else rest.B
    branch = Branch(whole=np.ascontiguousarray(whole.reshape(shape)))
    again = branch.as_factors()
    if again.A.tobytes() != rest.A.tobytes() or again.B.tobytes() != rest.B.tobytes():
        raise TrainerError("This is no exact export", "A branch of full rank is no matrix.")
    return branch


def write(path: Path, room: RoomAdapter) -> tensor_file.Written:
    """Writes a room's adapter as aggregation writes it."""
    arrays: dict[str, FloatArray] = {}
    for name, factors in room.factors.items():
        arrays[name + A_SUFFIX], arrays[name + B_SUFFIX] = factors.A, factors.B
        branch = room.branches.get(name)
        if branch is not None and branch.factors is not None:
            arrays[name + RESIDUAL_A_SUFFIX] = branch.factors.A
            arrays[name + RESIDUAL_B_SUFFIX] = branch.factors.B
        elif branch is not None and branch.whole is not None:
            arrays[name + DENSE_SUFFIX] = branch.whole
    notes = {ROUNDS_KEY: str(room.rounds)} if room.rounds else None
    return tensor_file.write(path, arrays, notes)


def joined(one: Factors, other: Factors) -> Factors:
    """Factors of B_1·A_1 + B_2·A_2."""
    return Factors(
        np.concatenate([one.A, other.A], axis=0), np.concatenate([one.B, other.B], axis=1)
    )


def multiplied(factors: Factors) -> FloatArray:
    """B·A in the shape of the layer's weight; multiplied in float64, rounded once."""
    A = factors.A.astype(np.float64).reshape(factors.rank, -1)
    B = factors.B.astype(np.float64).reshape(-1, factors.rank)
    return (B @ A).astype(np.float32).reshape(_weight_shape(factors))


def shaped(A: np.ndarray, B: np.ndarray, shape: Shape) -> Factors:
    """Matrices (r, m) and (d, r) as float32 factors of a layer whose weight has this shape."""
    out, *rest = shape
    rank = A.shape[0]
    return Factors(
        np.ascontiguousarray(A, np.float32).reshape(rank, *rest),
        np.ascontiguousarray(B, np.float32).reshape(out, rank, *(1 for _ in rest[1:])),
    )


def _weight_shape(factors: Factors) -> Shape:
    return (factors.B.shape[0], *factors.A.shape[1:])


def _branch(arrays: Mapping[str, FloatArray], layer: str) -> Branch | None:
    if layer + DENSE_SUFFIX in arrays:
        return Branch(whole=arrays[layer + DENSE_SUFFIX])
    if layer + RESIDUAL_A_SUFFIX in arrays:
        return Branch(Factors(arrays[layer + RESIDUAL_A_SUFFIX], arrays[layer + RESIDUAL_B_SUFFIX]))
    return None
