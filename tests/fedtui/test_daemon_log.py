"""The log of a node that runs for months."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from fedtui import daemon


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("fedtui", logging.INFO, "", 0, "%s", (text,), None)


def test_the_nodes_own_log_begins_anew_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "NODE_LOG_BYTES", 1000)
    log = tmp_path / "node.log"
    with log.open("a", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        handler = daemon.log_handler(log)
        for number in range(400):
            handler.emit(record(f"line {number}"))
        print("a traceback", file=stderr, flush=True)
        handler.close()
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"node.log", "node.log.1", "node.log.2"}
    assert all(path.stat().st_size < 1100 for path in tmp_path.iterdir())
    words = log.read_text(encoding="utf-8").splitlines()
    assert words[-2:] == ["line 399", "a traceback"]


def test_a_log_that_somebody_else_keeps_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node.log").touch()
    with (tmp_path / "journal").open("a", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert type(daemon.log_handler(tmp_path / "node.log")) is logging.StreamHandler
