"""One frozen object with everything a user can set (architecture.md, Layout).

Owns names, defaults and where values come from: defaults, then a TOML file, then SLIDELOOP_*
variables, then flags. Unknown names are errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path, user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from slideloop.errors import InvalidInputError

PREFIX = "SLIDELOOP_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
TOKEN_VARIABLE = f"{PREFIX}TOKEN"
"""Token that clients send to the server; a secret, hence no setting, flag or line of a file."""


class Settings(BaseSettings):
    """What a command works with.

    Attributes
    ----------
    workspace : Path
        Folder of feature stores and studies.
    weights : str
        "imagenet", "random" or the path of a state dict.
    encoder : str
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "fp32", "bf16", "int8"}
        Of the networks; auto: measured once on the machine.
    patch : int
        Side of a patch in pixels at the grid's resolution.
    stride : int or None
        Step between patches in the same pixels; None: no overlap.
    mpp : float or None
        Resolution to resample to, um/px; None: the slide's own.
    assume_mpp : float or None
        um/px of slides that do not state it.
    filter : {"tissue", "paper", "none"}
    normalisation : str
        "sample", "dataset", "imagenet" or six figures R,G,B/R,G,B.
    store : {"full", "pooled"}
    seed : int
        Of everything random.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    workspace: Path = Field(default_factory=lambda: user_data_path("slideloop", appauthor=False))
    weights: str = "imagenet"
    encoder: str = "resnet18"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    patch: int = Field(256, ge=16, le=4096)
    stride: int | None = Field(None, ge=1, le=4096)
    mpp: float | None = Field(None, gt=0.02, lt=20, allow_inf_nan=False)
    assume_mpp: float | None = Field(None, gt=0.02, lt=20, allow_inf_nan=False)
    filter: Literal["tissue", "paper", "none"] = "tissue"
    normalisation: str = "sample"
    store: Literal["full", "pooled"] = "full"
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the sources in their order, the strongest first."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml


def config_file() -> Path:
    """Return the TOML file that settings are read from; it need not exist."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path("slideloop", appauthor=False) / "config.toml"


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None were not given.

    Raises
    ------
    InvalidInputError
        If a name is unknown or a value makes no sense; names where it came from.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {CONFIG_VARIABLE, TOKEN_VARIABLE}
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            raise InvalidInputError(
                f"The variable {variable} sets nothing that slideloop knows.",
                hint=f"Known: {', '.join(sorted(known))}.",
            )
    path = config_file()
    if os.environ.get(CONFIG_VARIABLE) and not path.is_file():
        raise InvalidInputError(
            f"There is no settings file {path}.", hint=f"Correct {CONFIG_VARIABLE}."
        )
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as err:
        raise _refused(err, flags, path) from err
    except ValueError as err:
        raise InvalidInputError(
            f"The settings file {path} cannot be read ({err}).", hint="Correct or delete it."
        ) from err


def _refused(err: ValidationError, flags: dict[str, Any], path: Path) -> InvalidInputError:
    """Say which value was refused, and where it came from: the strongest source that has it."""
    first = err.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":  # flags and variables were checked by name
        return InvalidInputError(
            f"The settings file {path} sets {name!r}, which slideloop does not know.",
            hint=f"Known: {', '.join(Settings.model_fields)}.",
        )
    variable = f"{PREFIX}{name.upper()}"
    if flags.get(name) is not None:
        source = f"--{name.replace('_', '-')}"
    elif any(key.upper() == variable for key in os.environ):
        source = f"the variable {variable}"
    else:
        source = str(path)
    return InvalidInputError(
        f"The setting {name} cannot be {first['input']!r}: {first['msg']}.",
        hint=f"Correct {source}.",
    )
