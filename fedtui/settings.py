"""What a user may set, in ``config.toml`` of the profile or as ``FEDTUI_...`` in the environment.

The environment wins over the file. A key nobody knows is refused with the nearest one named.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fedtui.errors import UsageError
from fedtui.limits import MIN_BANDWIDTH_KIB
from fedtui.paths import HOME_VARIABLE, Profile

PREFIX = "FEDTUI_"
NO_SETTINGS = frozenset({HOME_VARIABLE, "FEDTUI_MODELS", "FEDTUI_GPUS", "FEDTUI_TORCH_INDEX"})
"""Variables with the prefix that are no settings: where the profile and models lie, how many
processes a training has, where the set-up took torch from."""


class Settings(BaseSettings):
    """A node's settings. Every field can be a line of config.toml or ``FEDTUI_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(max_length=32)] = Field(
        "", description="How the others see this machine; the room's name for it when empty."
    )
    data: str = Field("", description="Folder of captioned pictures to train on; none: only watch.")
    host: str = Field("0.0.0.0", description="Address the member port listens on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="The member port; 0 lets the system choose."
    )
    interfaces: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses of the interfaces to announce on; all of them when empty."
    )
    seeds: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="HOST:PORT of members that are usually there, where mDNS finds nobody."
    )
    upload_limit: Annotated[int, Field(ge=0)] = Field(
        0, description="What others may fetch from here, in KiB per second; 0 is no limit."
    )
    download_limit: Annotated[int, Field(ge=0)] = Field(
        0, description="What is fetched from others, in KiB per second; 0 is no limit."
    )
    disk_limit: Annotated[int, Field(ge=1)] = Field(
        20, description="Disk for one room's adapters and contributions, in GiB."
    )
    keep_rounds: Annotated[int, Field(ge=2)] = Field(
        50, description="Rounds whose adapters and contributions are kept, to recompute them."
    )
    threads: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="Processor threads the trainer may use; 0 leaves the choice to it."
    )
    device: str = Field(
        "",
        description="Where the trainer computes: cpu, cuda, cuda:1, xpu, mps; the best if empty.",
    )
    gpu_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        100, description="How much of the GPU's memory the trainer may take, in percent."
    )
    previews: bool = Field(True, description="Whether to draw previews after each round.")
    share_previews: bool = Field(
        False,
        description="Whether members who draw none get the previews drawn here.",
    )
    color: Literal["auto", "truecolor", "256", "16", "none"] = Field(
        "auto", description="Colour depth of the interface; auto asks the terminal."
    )
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="Where Prometheus finds metrics on 127.0.0.1; 0 serves none."
    )
    log_json: bool = Field(False, description="Whether the log is JSON lines instead of text.")

    @field_validator("upload_limit", "download_limit")
    @classmethod
    def _usable(cls, value: int) -> int:
        if 0 < value < MIN_BANDWIDTH_KIB:
            raise ValueError(f"others give up below {MIN_BANDWIDTH_KIB} KiB per second")
        return value

    @field_validator("interfaces", "seeds", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        """The environment's form: addresses with commas between them."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("interfaces")
    @classmethod
    def _own(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                ipaddress.ip_address(each)
            except ValueError:
                raise ValueError(f"{each!r} is no IP address; write them with commas") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; the file arrives as init arguments (:func:`load`)."""
        assert isinstance(init_settings, InitSettingsSource)
        return env_settings, init_settings


def load(profile: Profile) -> Settings:
    """Reads a profile's settings. Raises :class:`UsageError` for what it does not understand."""
    values = _read(profile.config)
    for key in values:
        _known(key, f"{profile.config}")
    for variable in os.environ:
        upper = variable.upper()
        if upper.startswith(PREFIX) and upper not in NO_SETTINGS:
            _known(upper.removeprefix(PREFIX).lower(), "the environment", shown=variable)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        field = Settings.model_fields.get(name.split(".")[0])
        meaning = field.description if field and field.description else ""
        raise UsageError(
            f"the setting {name!r} is wrong",
            f"{first['msg']} ({meaning.rstrip('.')})" if meaning else str(first["msg"]),
            f"correct {name} in {profile.config}, or {PREFIX}{name.upper()} in the environment",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", str(error), "correct that line") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or str(error)) from error


def _known(key: str, where: str, shown: str = "") -> None:
    if key in Settings.model_fields:
        return
    near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.5)
    right = f"{PREFIX}{near[0].upper()}" if near and shown else near[0] if near else ""
    raise UsageError(
        f"{where} sets {shown or key!r}, which is no setting",
        "a misspelt setting would otherwise be ignored without a word",
        f"did you mean {right!r}?" if right else f"known: {', '.join(Settings.model_fields)}",
    )
