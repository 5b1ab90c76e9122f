"""The command line: light, honest about its exit codes, usable without a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedtui.cli import output

HEAVY = ("torch", "numpy", "textual", "aiohttp", "diffusers", "transformers", "peft", "zeroconf")
LEARNING = ("torch", "numpy", "diffusers", "transformers", "peft", "safetensors", "accelerate")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDTUI_")}
    return {**kept, "FEDTUI_HOME": str(tmp_path / "profile")}


def fedtui(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fedtui", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def imported(code: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after running ``code``."""
    script = f"{code}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(output.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["demo", "--help"], ["train", "--help"], ["data", "--help"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported(f"from fedtui.cli.app import run\nassert run({arguments!r}) == 0")
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "module",
    ["fedtui.daemon", "fedtui.node", "fedtui.demo", "fedtui.control.client", "fedtui.tui.app"],
)
def test_nothing_of_the_learning_stack_is_imported_outside_the_trainer(module: str) -> None:
    assert imported(f"import {module}").isdisjoint(LEARNING)


def test_the_daemon_does_not_import_the_interface() -> None:
    assert "textual" not in imported("import fedtui.daemon")


def test_the_interface_refuses_to_start_without_a_terminal(environment: dict[str, str]) -> None:
    result = fedtui(environment)
    assert result.returncode == 2
    assert "--daemon" in result.stderr
    assert result.stdout == ""


def test_a_daemon_without_a_room_says_what_to_do(environment: dict[str, str]) -> None:
    result = fedtui(environment, "--daemon")
    assert result.returncode == 2
    assert "fedtui demo" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["train"],
        ["train", ".", "--out", "x.safetensors", "--format", "nonsense"],
        ["generate", "a house", "--out", "house.jpg"],
        ["generate", "a house", "--out", "house.png", "--size", "large"],
        ["generate", "a house", "--out", "house.png", "--lora", "missing.safetensors:0.5"],
        ["demo", "--nodes", "0"],
        ["demo", "--headless", "--algorithm", "nonsense"],
        ["export", "--out", "x"],
    ],
)
def test_wrong_usage_ends_with_2_and_one_message(
    environment: dict[str, str], arguments: list[str], tmp_path: Path
) -> None:
    result = fedtui(environment, *arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["status", "peers", "rounds", "events", "stop"])
def test_looking_without_a_node_ends_with_3_and_the_next_step(
    environment: dict[str, str], command: str
) -> None:
    result = fedtui(environment, command)
    assert result.returncode == 3
    assert "fedtui --daemon" in result.stderr
    assert result.stdout == ""


def test_locate_prints_the_profile_as_json(environment: dict[str, str]) -> None:
    result = fedtui(environment, "locate", "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["profile"] == environment["FEDTUI_HOME"]


def test_tracebacks_are_for_debug_only(environment: dict[str, str]) -> None:
    assert "Traceback" not in fedtui(environment, "status").stderr
    assert "Traceback" in fedtui(environment, "--debug", "status").stderr


def test_data_sample_and_check_agree(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    made = fedtui(environment, "data", "sample", str(folder), "--count", "5", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["written"] == 5
    report = fedtui(environment, "data", "check", str(folder), "--json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["usable"] == 5
    readable = fedtui(environment, "data", "check", str(folder))
    assert "5 pictures" in readable.stdout


def test_a_folder_called_trainer_where_the_user_stands_is_not_ours(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("raise SystemExit('wrong package')")
    made = subprocess.run(
        [sys.executable, "-P", "-m", "fedtui", "data", "sample", "pictures", "--count", "1"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def test_a_folder_without_pictures_ends_with_5(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    checked = fedtui(environment, "data", "check", str(tmp_path / "empty"))
    assert checked.returncode == 5
    assert "put PNG, JPEG or WebP files there" in checked.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_command_with_their_code_and_its_children(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    import psutil

    process = subprocess.Popen(
        [sys.executable, "-m", "fedtui", "data", "sample", str(tmp_path / "p"), "--count", "50000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    parent = psutil.Process(process.pid)
    while not (children := parent.children(recursive=True)):
        assert process.poll() is None
    while not (tmp_path / "p").exists():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_nothing_printed_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = "a\x1b[2Jb\x9bc\u202ed\ttab\nline"
    output.data(told)
    output.say(told)
    output.data_json({"text": told, "emoji": "🌻"})
    shown, said = capsys.readouterr()
    text, line, encoded = shown.splitlines()
    assert f"{text}\n{line}" == "a [2Jb c d\ttab\nline" == said.rstrip("\n")
    assert encoded.isprintable()
    assert "🌻" in encoded
    assert json.loads(encoded)["text"] == told
