"""What the page on extending gives to copy holds: the second node may do what the first may."""

import re
import textwrap
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from teleprefetch.domain.rule_check import checked_rules
from tests.pages.blocks import DOCS
from tests.pages.machines import template

PAGE = (DOCS / "extending.md").read_text()


def _given(language: str) -> str:
    (text,) = re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(text)


def _actions(policy: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        found |= {actions} if isinstance(actions, str) else set(actions)
    return found


def test_the_second_node_may_do_what_the_templates_node_may() -> None:
    second = yaml_parse(_given("yaml"))["Resources"]

    assert _actions(second["Policy"]) == _actions(template()["Resources"]["NodePolicy"])


def test_the_second_nodes_queue_is_as_the_templates() -> None:
    second = yaml_parse(_given("yaml"))["Resources"]["Queue"]["Properties"]
    first = template()["Resources"]["NodeQueue"]["Properties"]

    for name in ("VisibilityTimeout", "MessageRetentionPeriod"):
        assert second[name] == first[name]
    assert second["RedrivePolicy"]["maxReceiveCount"] == first["RedrivePolicy"]["maxReceiveCount"]


def test_the_rules_that_are_given_are_rules_and_agree_with_each_other() -> None:
    rules = checked_rules(_given("toml"), at="extending.md")

    assert (len(rules.warm), len(rules.viewer)) == (1, 1)
