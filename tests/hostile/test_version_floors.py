"""No version with a known hole can be installed: neither by the ranges nor by the pins.

The floors and why: docs/security.md.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {"aiohttp": "3.14.2", "zeroconf": "0.150.0", "safetensors": "0.6.0", "spake2": "0.9"}
FORBIDDEN = ("cbor2", "python-multipart", "msgpack", "dill", "cloudpickle")
"""Parsers and unpicklers of what comes from a network, with a history."""


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {r.name.lower(): r for r in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_the_range_and_the_pin_keep_the_floor(name: str) -> None:
    floor = Version(FLOORS[name])
    assert pins()[name] >= floor
    allowed = requirements()[name].specifier
    below = Version(f"{floor.major}.{floor.minor}.{max(0, floor.micro - 1)}")
    if below < floor:
        assert below not in allowed
    older = Version(f"{floor.major}.{max(0, floor.minor - 1)}.99")
    assert older not in allowed


def test_dangerous_parsers_are_not_among_the_dependencies() -> None:
    assert not set(FORBIDDEN) & requirements().keys()
    assert not set(FORBIDDEN) & pins().keys()


def test_every_direct_dependency_is_pinned() -> None:
    assert requirements().keys() <= pins().keys()
