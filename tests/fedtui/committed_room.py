"""A room whose rounds were committed for real, without any network: genesis, blobs, ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedtui import rooms
from fedtui.demo.founding import Founded, found
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.training import TrainerProcess
from fedtui.workload import AdapterWorkload
from p2p.blobs.chunks import BlobRef, describe
from p2p.messages import Commit, Result, ResultInput, Vote, chain_hash, value_of
from p2p.rounds.effects import Committed
from p2p.rounds.ledger import Ledger
from p2p.rounds.quorum import make_qc
from p2p.rounds.rules import Facts, make_result
from p2p.rounds.signing import EnvelopeSigner
from p2p.workload import Input
from trainer.aggregate.files import STEPS_KEY
from trainer.aggregate.modes import trained_factors
from trainer.protocol import DENSE
from trainer.tensor_file import read_all, write

SAMPLES = (20, 40, 60)
STEPS = 40
"""What contributions say of their local steps."""


async def committed_room(
    folder: Path,
    arithmetic: TrainerProcess,
    rounds: int = 2,
    *,
    lie: bool = False,
    agree_on: Callable[[Result], Result] = lambda result: result,
    choices: DemoOptions = DemoOptions(nodes=2),  # noqa: B008 - frozen
) -> tuple[Founded, rooms.Room]:
    """The room of the first of ``choices.nodes`` members (up to three) after so many rounds of
    random contributions.

    With ``lie`` both members sign that the first one's contribution is the result; what they
    ``agree_on`` may also be another record of the round.
    """
    options = replace(choices, rounds=rounds, directory=folder)
    founded = await found(options, open_directory(options), arithmetic)
    room = rooms.current(founded.participants[0].profile)
    genesis, plan = room.genesis, room.genesis.plan

    async def ignore(path: Path, round_number: int) -> None:
        del path, round_number

    workload = AdapterWorkload(arithmetic, folder / "work", max_blob=1 << 28, on_applied=ignore)
    facts = Facts.first(genesis, room.id)
    ledger = Ledger(room.paths.root, room.id)
    previous = founded.paths.initial
    _keep(room, previous)
    for number in range(1, rounds + 1):
        inputs, items = [], []
        for index, each in enumerate(founded.participants):
            path = _random_contribution(
                folder / "contribution", previous, 10 * number + index,
                sent_names(previous, plan.algorithm, number - 1),
            )  # fmt: skip
            blob = _keep(room, path)
            peer = each.identity.peer_id
            inputs.append(Input(peer, room.paths.blob(blob.sha256), SAMPLES[index]))
            items.append(
                ResultInput(
                    contribution=f"{index:x}" * 64, peer=peer, blob=blob.sha256,
                    weight=SAMPLES[index],
                )
            )  # fmt: skip
        inputs.sort(key=lambda item: item.id)
        combined = await workload.combine(inputs, plan, previous)
        if lie:
            combined = inputs[0].path
        ref = _keep(room, combined)
        result = make_result(facts, 0, tuple(items), (), facts.voters, (), ref)
        body = agree_on(result).to_bytes().decode()
        vote = Vote(attempt=0, phase="commit", round=number, value=value_of(body))
        signatures = {
            p.identity.peer_id: EnvelopeSigner(p.identity, room.id).seal(vote).signature
            for p in founded.participants
        }
        payload = Commit(body=body, qc=make_qc(vote, signatures)).to_bytes()
        head = chain_hash(facts.parent, vote.value)
        record = Committed(number, vote.value, head, payload)
        ledger.write(record)
        facts = facts.next(record)
        adapter = room.paths.adapter(number)
        adapter.parent.mkdir(exist_ok=True)
        shutil.copyfile(combined, adapter)
        previous = adapter
    ledger.close()
    return founded, room


def _keep(room: rooms.Room, path: Path) -> BlobRef:
    ref = describe(path)
    place = room.paths.blob(ref.sha256)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        shutil.copyfile(path, place)
    return ref


def sent_names(state: Path, mode: str, rounds: int) -> list[str]:
    """The tensors that members send after so many combinations."""
    names = [name for name in read_all(state)[0] if not name.startswith(("ema/", "velocity/"))]
    if mode == DENSE:
        return names
    parts = trained_factors(mode, rounds)
    return [name for name in names if any(f".lora_{part}." in name for part in parts)]


def _random_contribution(path: Path, previous: Path, seed: int, names: Sequence[str]) -> Path:
    rng = np.random.default_rng(seed)
    before = read_all(previous)[0]
    arrays = {
        name: (array + 0.05 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in before.items()
        if name in names
    }
    write(path, arrays, {STEPS_KEY: str(STEPS + seed)})
    return path
