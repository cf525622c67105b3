"""README says what is true: each setting is explained, and what it names exists."""

import re
from pathlib import Path

from teleprefetch.console.settings import ConsoleSettings
from teleprefetch.settings import NodeSettings, PipelineSettings
from teleprefetch.token_settings import TOKEN_SETTINGS
from tests.pages.commands import commands

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "shared/docs/reference.md").read_text()


def test_each_setting_is_explained() -> None:
    fields = [
        *PipelineSettings.model_fields,
        *NodeSettings.model_fields,
        *TOKEN_SETTINGS,
        *ConsoleSettings.model_fields,
    ]
    for name in fields:
        assert f"`{name.upper()}`" in README + REFERENCE, name


def test_each_command_it_shows_is_one() -> None:
    shown = set(re.findall(r"uv run teleprefetch (\w+)", README))
    assert shown <= {name.partition(" ")[0] for name in commands()}
    for module in re.findall(r"python -m (tests\.[\w.]+)", README):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_each_path_it_names_is_there() -> None:
    paths = re.findall(r"`((?:shared|functions|statemachine|tests)/[\w/.]*)`", README)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
