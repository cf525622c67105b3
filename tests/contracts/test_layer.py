"""The functions' layer holds the package and its requirements, and nothing else of `shared/`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
PIP = """#!/bin/sh
printf '%s\\n' "$@" >"$ARTIFACTS_DIR/asked-of-pip"
"""


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """What the Makefile builds, with a pip that only writes down what it was asked for."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(PIP)
    python.chmod(0o700)
    built = tmp_path / "built"
    built.mkdir()
    given = {"ARTIFACTS_DIR": str(built), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    made = subprocess.run(
        ["make", "--silent", "build-TeleprefetchLayer"],
        cwd=ROOT / "shared",
        env=os.environ | given,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return built


def test_the_layer_has_every_module_where_lambda_looks_for_it(layer: Path) -> None:
    package = ROOT / "shared/teleprefetch"
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    found = layer / "python/teleprefetch"

    assert {path.relative_to(found) for path in found.rglob("*.py")} == modules
    assert Path("runtime.py") in modules


def test_neither_pages_nor_the_nodes_container_go_into_the_layer(layer: Path) -> None:
    assert {path.name for path in layer.iterdir()} == {"python", "asked-of-pip"}
    assert [path.name for path in (layer / "python").iterdir()] == ["teleprefetch"]
    kinds = {path.suffix for path in layer.rglob("*") if path.is_file()}
    assert not kinds & {".md", ".yaml", ".pyc"}


def test_the_locked_requirements_are_installed_for_the_functions_own_runtime(layer: Path) -> None:
    asked = (layer / "asked-of-pip").read_text().split("\n")
    function = yaml_parse((ROOT / "template.yaml").read_text())["Globals"]["Function"]

    assert asked[asked.index("--requirement") + 1] == "requirements.txt"
    assert asked[asked.index("--target") + 1] == str(layer / "python")
    assert f"python{asked[asked.index('--python-version') + 1]}" == function["Runtime"]
    assert (function["Architectures"], "manylinux_2_28_aarch64" in asked) == (["arm64"], True)


def test_the_layer_is_built_by_the_makefile_that_lies_in_its_source() -> None:
    """SAM developer guide, "Building Lambda layers in AWS SAM": its place and its target's name."""
    layer = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]["TeleprefetchLayer"]

    assert layer["Metadata"]["BuildMethod"] == "makefile"
    makefile = ROOT / layer["Properties"]["ContentUri"] / "Makefile"
    assert "\nbuild-TeleprefetchLayer:\n" in makefile.read_text()
