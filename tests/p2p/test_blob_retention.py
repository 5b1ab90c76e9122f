"""What goes from the disk and when; never what a round under way needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_room import ToyNode, toy_genesis, until

from p2p.blobs.retention import SAFE_ROUNDS, Retention, RoundBlobs, doomed
from p2p.blobs.store import BlobStore
from p2p.rounds import forgetting
from p2p.rounds.driver import RoundDriver
from p2p.rounds.state import OwnContribution

UNLIMITED = 1 << 60


@st.composite
def histories(draw: st.DrawFn) -> list[RoundBlobs]:
    """Rounds whose blobs may repeat: a skipped round keeps the result, equal work is one blob."""
    names = st.sampled_from([f"{letter}{n}" for letter in "abcdef" for n in range(8)])
    rounds = draw(st.integers(0, 12))
    history = []
    for number in range(1, rounds + 1):
        inputs = tuple(draw(st.lists(names, max_size=4, unique=True)))
        own = draw(st.sampled_from([None, *inputs]))
        history.append(RoundBlobs(number, draw(names), inputs, own))
    return history


@given(
    histories(),
    st.dictionaries(st.text("abcdef01234567", min_size=2, max_size=2), st.integers(1, 100)),
    st.sets(st.text("abcdef01234567", min_size=2, max_size=2)),
    st.integers(2, 8),
    st.integers(0, 400),
)
def test_what_goes(
    history: list[RoundBlobs], sizes: dict[str, int], needed: set[str], rounds: int, budget: int
) -> None:
    gone = doomed(history, sizes, needed, Retention(rounds, budget))
    last = len(history)
    recent = {
        name
        for each in history
        if each.round > last - SAFE_ROUNDS
        for name in (each.result, *each.inputs)
    }
    spoken_of = {name for each in history for name in (each.result, *each.inputs)}
    results = {each.result for each in history}
    assert len(gone) == len(set(gone))
    assert not set(gone) & needed
    assert not set(gone) & recent
    assert {n for n in sizes if n not in spoken_of and n not in needed} <= set(gone)
    kept = sizes.keys() - set(gone)
    fixed = needed | recent
    assert sum(sizes[n] for n in kept) <= budget or kept <= fixed
    for each in history:
        if each.round <= last - rounds:
            assert (
                not {n for n in each.inputs if n in kept}
                - fixed
                - results
                - {n for other in history if other.round > last - rounds for n in other.inputs}
            )


def test_inputs_go_before_own_work_and_results_and_old_before_new() -> None:
    history = [RoundBlobs(n, f"r{n}", (f"i{n}", f"o{n}"), f"o{n}") for n in range(1, 6)]
    sizes = {f"{kind}{n}": 10 for n in range(1, 6) for kind in "rio"}
    order = ["i1", "i2", "i3", "o1", "o2", "o3", "r1", "r2", "r3"]
    for count in range(len(order) + 1):
        retention = Retention(rounds=50, budget=150 - 10 * count)
        assert doomed(history, sizes, (), retention) == order[:count]
    assert doomed(history, sizes, (), Retention(3, UNLIMITED)) == ["i1", "i2", "o1", "o2"]


def test_own_work_of_long_ago_that_was_handed_in_again_is_as_young_as_the_last_time() -> None:
    history = [RoundBlobs(1, "r", ("x",), own="x"), *(RoundBlobs(n, "r", ()) for n in (2, 3))]
    history.append(RoundBlobs(4, "r", ("x",)))
    assert doomed(history, {"x": 1}, (), Retention(rounds=2, budget=0)) == []


async def test_pruning_spares_what_was_just_stored(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    old = await store.put(b"old")
    assert await store.prune([old.sha256]) == 0, "added since the call before"
    new = await store.put(b"new")
    part = tmp_path / "partial" / f"{'0' * 64}.part"
    part.write_bytes(b"half")
    assert await store.prune([old.sha256, new.sha256, "f" * 64]) == old.size
    assert not store.has(old.sha256)
    assert store.has(new.sha256)
    assert not part.exists()
    assert dict(store.sizes) == {new.sha256: new.size}


async def test_what_is_stored_again_while_it_is_pruned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BlobStore(tmp_path)
    old = await store.put(b"old")
    await store.prune([])
    unlink, again = Path.unlink, []

    def slow(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if not again:
            again.append(path)
            store._copy_in(b"old")  # As the thread of a put does.

    monkeypatch.setattr(Path, "unlink", slow)
    await store.prune([old.sha256])
    assert again
    assert store.path(old.sha256).read_bytes() == b"old"
    assert dict(store.sizes) == {old.sha256: old.size}


async def test_what_is_stored_while_others_look_does_not_disturb_them(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    first = await store.put(b"first")
    looking = iter(store.sizes)
    await store.put(b"second")
    assert list(looking) == [first.sha256]


async def test_work_that_waits_to_be_announced_is_not_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, announce = ToyNode(tmp_path, 0, toy_genesis(3)), RoundDriver.contribute
    kept: list[bool] = []

    async def late(driver: RoundDriver, own: OwnContribution) -> None:
        for _ in range(2):
            await node.peer.blobs.prune([own.blob.sha256])
        kept.append(node.peer.blobs.has(own.blob.sha256))
        await announce(driver, own)

    monkeypatch.setattr(RoundDriver, "contribute", late)
    await node.start()
    await until(lambda: node.peer.contributed(1))
    assert kept == [True]
    await until(lambda: not node.peer.blobs._pinned)
    await node.stop()


async def test_pruning_survives_a_restart(tmp_path: Path) -> None:
    kept = await BlobStore(tmp_path).put(b"kept")
    reopened = BlobStore(tmp_path)
    assert dict(reopened.sizes) == {kept.sha256: kept.size}
    assert await reopened.prune([]) == 0
    assert await reopened.prune([kept.sha256]) == kept.size
    assert not BlobStore(tmp_path).sizes


async def test_old_rounds_leave_the_disk_while_the_room_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "RETENTION_PAUSE", 0.05)
    rounds = 7
    genesis = toy_genesis(3, rounds=rounds)
    nodes = [ToyNode(tmp_path, i, genesis, kept_rounds=2) for i in range(3)]
    for node in nodes:
        await node.start()
    for node in nodes:
        node.knows(nodes)
    await until(lambda: all(node.peer.done for node in nodes))
    first = nodes[1].of("round.committed")[0]
    gone = [item["blob"] for item in first["inputs"]]
    await until(lambda: not any(n.peer.blobs.has(blob) for n in nodes for blob in gone))
    await until(lambda: all(len(n.of("adapter.applied")) == rounds for n in nodes))
    for node in nodes:
        assert node.peer.blobs.has(genesis_blob(node))
    for node in nodes:
        await node.stop()


def genesis_blob(node: ToyNode) -> str:
    return node.peer.genesis.initial_blob
