"""What .ci/run has checkov look at is the template with everything in it made."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole() -> Any:
    printed = subprocess.run([ROOT / ".ci/whole-template"], capture_output=True, check=True).stdout
    return yaml_parse(printed.decode())


def _holds(template: Any, name: str) -> bool:
    return bool(_value(template, template["Conditions"][name]))


def _value(template: Any, given: Any) -> Any:
    """What an intrinsic function of a condition comes to, by the parameters' defaults."""
    if not isinstance(given, dict):
        return given
    [(function, argument)] = given.items()
    if function == "Ref":
        return str(template["Parameters"][argument].get("Default", "given"))
    if function == "Condition":
        return _holds(template, argument)
    values = [_value(template, one) for one in argument]
    if function == "Fn::Equals":
        return str(values[0]) == str(values[1])
    if function == "Fn::Join":
        return str(values[1])
    if function == "Fn::Not":
        return not values[0]
    return {"Fn::And": all, "Fn::Or": any}[function](values)


def test_each_resource_with_a_condition_is_made(whole: Any) -> None:
    conditions = {one["Condition"] for one in whole["Resources"].values() if "Condition" in one}

    assert len(conditions) > 3
    assert [name for name in sorted(conditions) if not _holds(whole, name)] == []


def test_nothing_but_parameters_is_changed(whole: Any) -> None:
    shipped = yaml_parse((ROOT / "template.yaml").read_text())

    assert {**whole, "Parameters": None} == {**shipped, "Parameters": None}
