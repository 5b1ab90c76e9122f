"""Two of five members lie about what they trained; the room's result is the honest members'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_rig import Demo

from p2p.envelope import open_genesis
from p2p.room import Genesis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIARS = Path(__file__).parent / "liars"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    paths = [str(LIARS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    demo = Demo(tmp_path / "demo", "--nodes", "5", "--rounds", "1", "--steps", "8", "--rule", "rfa")
    yield demo
    demo.end()


def test_a_room_with_a_robust_rule_survives_two_liars(demo: Demo) -> None:
    finished = demo.finish()
    assert finished["ok"] is True
    assert len(set(finished["heads"].values())) == 1
    (folder,) = (demo.directory / "node-1" / "rooms").iterdir()
    genesis = Genesis.model_validate_json(
        open_genesis((folder / "genesis.json").read_bytes()).payload
    )
    *honest, loud, nan = [member.peer_id for member in genesis.members]

    commits = [event for event in demo.events if event["type"] == "round.committed"]
    assert {item["peer"] for item in commits[0]["inputs"]} == {*honest, loud}
    (refusal,) = commits[0]["excluded"]
    assert refusal["peer"] == nan
    assert "NaN" in refusal["reason"]

    told = [event for event in demo.events if event["type"] == "round.statistics"]
    assert told
    shares = {share["peer"]: share for share in told[0]["shares"]}
    assert all(event["shares"] == told[0]["shares"] for event in told)
    assert shares[loud]["norm"] > 10 * max(shares[peer]["norm"] for peer in honest)
    assert shares[loud]["weight"] < 0.05
    assert min(shares[peer]["weight"] for peer in honest) > 0.2
    assert finished["evaluation"]["room"] < finished["evaluation"]["base"]
