"""A support bundle of a node that knows private things: none of them is in it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtui import support
from fedtui.errors import UsageError
from fedtui.paths import Profile
from fedtui.settings import Settings
from fedtui.support import Redaction

PEER = "a" * 26 + "2" * 26
OTHER = "b" * 52
SECRETS = (
    "Ada Lovelace",
    "192.168.7.23",
    "fe80::1ff:fe23:4567:890a",
    "gpu-1.lab",
    "/home/ada/pictures",
    PEER,
)


@pytest.fixture
def hidden() -> Redaction:
    return Redaction([(PEER, "Ada Lovelace"), (OTHER, "Ada")])


def test_lines_lose_what_is_private_and_keep_what_happened(hidden: Redaction) -> None:
    line = (
        f"Ada Lovelace ({PEER}) at 192.168.7.23:4711 sent /home/ada/pictures/cat.png "
        f"'a cat on my sofa' {'f' * 64} via fe80::1ff:fe23:4567:890a "
        "or gpu-1.lab:47778: refused after 3 tries"
    )
    said = hidden.line(line)
    for secret in (*SECRETS, "cat", "sofa", "f" * 24):
        assert secret not in said
    assert said.startswith("member-1 (member-1) at")
    assert said.endswith("refused after 3 tries")


def test_a_name_within_a_word_stays_a_word(hidden: Redaction) -> None:
    assert hidden.line("Adapter of Ada") == "Adapter of member-2"


def test_json_keeps_numbers_and_known_words_only(hidden: Redaction) -> None:
    data = {
        "type": "peer.state",
        "peer": PEER,
        "name": "Ada Lovelace",
        "state": "alive",
        "loss": 0.25,
        "paths": ["/home/ada/pictures"],
        "by": {OTHER: 3},
        "remark": "written by hand",
    }
    assert hidden.value(data) == {
        "type": "peer.state",
        "peer": "member-1",
        "name": "…",
        "state": "alive",
        "loss": 0.25,
        "paths": ["…"],
        "by": {"member-2": 3},
        "remark": "…",
    }


@given(st.text(max_size=200))
def test_any_line_can_be_redacted(text: str) -> None:
    assert PEER not in Redaction([(PEER, "Ada")]).line(text + PEER)


async def test_a_bundle_without_a_node(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    profile.root.mkdir()
    profile.events.write_text(
        json.dumps({"type": "peer.found", "peer": PEER, "name": "Ada Lovelace"}) + "\n{torn"
    )
    profile.log.write_text("looking at /home/ada/pictures from 192.168.7.23\n")
    settings = Settings(name="Ada Lovelace", data="/home/ada/pictures", seeds=("gpu-1.lab:47778",))
    out = tmp_path / "bundle.zip"
    files = await support.write(profile, settings, out, trainer=False)
    with zipfile.ZipFile(out) as bundle:
        assert set(bundle.namelist()) == set(files) >= {"doctor.json", "events.json", "node.log"}
        everything = "\n".join(bundle.read(name).decode() for name in files)
    for secret in SECRETS:
        assert secret not in everything
    assert "peer.found" in everything
    assert str(tmp_path) not in everything
    with pytest.raises(UsageError, match="exists already"):
        await support.write(profile, settings, out, trainer=False)
