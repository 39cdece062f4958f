"""Where settings come from, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from slideloop.errors import InvalidInputError
from slideloop.settings import Settings, config_file, load_settings


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that is in force, empty as yet."""
    path = tmp_path / "slideloop.toml"
    path.write_text("")
    monkeypatch.setenv("SLIDELOOP_CONFIG", str(path))
    return path


def test_without_anything_the_defaults_hold():
    settings = load_settings()
    assert (settings.patch, settings.stride, settings.mpp) == (256, None, None)
    assert (settings.weights, settings.encoder, settings.device) == ("imagenet", "resnet18", "auto")
    assert (settings.filter, settings.normalisation) == ("tissue", "sample")
    assert (settings.store, settings.seed) == ("full", 0)


def test_a_file_wins_over_a_default(toml: Path):
    toml.write_text("patch = 224\n")
    assert load_settings().patch == 224


def test_a_variable_wins_over_a_file(toml: Path, monkeypatch: pytest.MonkeyPatch):
    toml.write_text("patch = 224\n")
    monkeypatch.setenv("SLIDELOOP_PATCH", "192")
    assert load_settings().patch == 192


def test_a_flag_wins_over_a_variable(toml: Path, monkeypatch: pytest.MonkeyPatch):
    toml.write_text("patch = 224\n")
    monkeypatch.setenv("SLIDELOOP_PATCH", "192")
    assert load_settings(patch=128).patch == 128


def test_a_flag_that_was_not_given_hides_nothing(toml: Path):
    toml.write_text("mpp = 0.5\n")
    assert load_settings(mpp=None, patch=None).mpp == 0.5


def test_each_source_gives_what_the_stronger_ones_leave_out(
    toml: Path, monkeypatch: pytest.MonkeyPatch
):
    toml.write_text('patch = 224\nfilter = "paper"\nseed = 3\n')
    monkeypatch.setenv("SLIDELOOP_SEED", "4")
    settings = load_settings(patch=128)
    assert (settings.patch, settings.filter, settings.seed) == (128, "paper", 4)


def test_the_users_own_folder_is_looked_in_without_a_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLIDELOOP_CONFIG", raising=False)
    if not config_file().is_relative_to(os.environ["XDG_CONFIG_HOME"]):
        pytest.skip("the user's folder cannot be moved on this system")
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text("seed = 7\n")
    try:
        assert load_settings().seed == 7
    finally:
        config_file().unlink()


def test_a_variable_may_be_written_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("slideloop_seed", "9")
    assert load_settings().seed == 9


def test_settings_cannot_be_changed_afterwards():
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.patch = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_key_names_the_file_and_the_key(toml: Path):
    toml.write_text("patch = 224\npacth = 224\n")
    with pytest.raises(InvalidInputError, match="sets 'pacth', which slideloop does not") as caught:
        load_settings()
    assert str(toml) in caught.value.message
    assert all(name in caught.value.hint for name in Settings.model_fields)


def test_a_table_in_the_file_is_an_unknown_key(toml: Path):
    toml.write_text("[server]\nport = 1\n")
    with pytest.raises(InvalidInputError, match="sets 'server'"):
        load_settings()


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIDELOOP_PACTH", "224")
    with pytest.raises(InvalidInputError, match="SLIDELOOP_PACTH sets nothing"):
        load_settings()


def test_a_file_that_is_no_toml_is_named(toml: Path):
    toml.write_text("patch = \n")
    with pytest.raises(InvalidInputError, match=r"slideloop\.toml cannot be read"):
        load_settings()


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIDELOOP_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(InvalidInputError, match=r"no settings file .*none\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch", 15),
        ("patch", 5000),
        ("stride", 0),
        ("mpp", 0),
        ("mpp", float("nan")),
        ("mpp", float("inf")),
        ("assume_mpp", 352),
        ("device", "tpu"),
        ("filter", "otsu"),
        ("store", "half"),
        ("seed", -1),
        ("seed", 2**31),
    ],
)
def test_a_value_that_makes_no_sense_names_the_option(name: str, value: object):
    with pytest.raises(InvalidInputError, match=f"The setting {name} cannot be") as caught:
        load_settings(**{name: value})
    assert caught.value.hint == f"Correct --{name.replace('_', '-')}."


def test_a_wrong_value_in_a_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIDELOOP_PATCH", "big")
    with pytest.raises(InvalidInputError, match="The setting patch cannot be 'big'") as caught:
        load_settings()
    assert caught.value.hint == "Correct the variable SLIDELOOP_PATCH."


def test_a_wrong_value_in_the_file_names_the_file(toml: Path):
    toml.write_text('patch = "big"\n')
    with pytest.raises(InvalidInputError, match="The setting patch cannot be 'big'") as caught:
        load_settings()
    assert caught.value.hint == f"Correct {toml}."
