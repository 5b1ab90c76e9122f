"""Settings: environment over file, and nothing misspelt passes silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtui import settings
from fedtui.errors import UsageError
from fedtui.paths import Profile


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"FEDTUI_{name.upper()}", raising=False)
    return Profile(tmp_path)


def test_nothing_set_gives_the_defaults(profile: Profile) -> None:
    assert settings.load(profile) == settings.Settings()


def test_the_environment_wins_over_the_file(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile.config.write_text('name = "file"\nport = 4000\ninterfaces = ["127.0.0.1"]\n')
    monkeypatch.setenv("FEDTUI_NAME", "environment")
    loaded = settings.load(profile)
    assert (loaded.name, loaded.port, loaded.interfaces) == ("environment", 4000, ("127.0.0.1",))


def test_addresses_in_the_environment_are_separated_by_commas(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTUI_INTERFACES", "127.0.0.1, 10.0.0.2")
    assert settings.load(profile).interfaces == ("127.0.0.1", "10.0.0.2")


@pytest.mark.parametrize("written", ['["127.0.0.1"]', "eth0", "127.0.0.1:4000"])
def test_what_is_no_address_is_refused(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("FEDTUI_INTERFACES", written)
    with pytest.raises(UsageError, match="interfaces") as caught:
        settings.load(profile)
    assert "no IP address" in caught.value.cause


def test_a_misspelt_key_is_refused_with_the_nearest_one(profile: Profile) -> None:
    profile.config.write_text("prot = 4000\n")
    with pytest.raises(UsageError, match="prot") as caught:
        settings.load(profile)
    assert "'port'" in caught.value.remedy
    assert caught.value.code == 2


def test_a_misspelt_variable_is_refused_with_the_nearest_one(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTUI_INTERFACE", "127.0.0.1")
    with pytest.raises(UsageError) as caught:
        settings.load(profile)
    assert "FEDTUI_INTERFACES" in caught.value.remedy


def test_a_wrong_value_is_explained(profile: Profile) -> None:
    profile.config.write_text("port = 70000\n")
    with pytest.raises(UsageError, match="port") as caught:
        settings.load(profile)
    assert "member port" in caught.value.cause
    assert "FEDTUI_PORT" in caught.value.remedy


def test_a_broken_file_is_refused(profile: Profile) -> None:
    profile.config.write_text("name = \n")
    with pytest.raises(UsageError, match="cannot read"):
        settings.load(profile)


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in settings.Settings.model_fields.values())


@pytest.mark.parametrize("name", ["FEDTUI_MODELS", "FEDTUI_GPUS", "FEDTUI_TORCH_INDEX"])
def test_documented_variables_that_are_no_settings_are_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "2")
    assert settings.load(Profile(tmp_path)) == settings.Settings()
