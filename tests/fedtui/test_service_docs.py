"""The page and the unit for services say what the program does."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from fedtui.errors import ExitCode
from fedtui.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_on_the_page_with_its_meaning() -> None:
    page = (ROOT / "docs" / "running-a-node.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", page, flags=re.MULTILINE))
    assert rows == {name: field.description for name, field in Settings.model_fields.items()}


def test_the_unit_is_read_by_systemd_s_rules_and_names_our_exit_codes() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "packaging" / "fedtui.service", encoding="utf-8")
    service = unit["Service"]
    assert service["Type"] == "notify"
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {ExitCode.USAGE, ExitCode.TRUST}
    assert "--daemon" in service["ExecStart"]
