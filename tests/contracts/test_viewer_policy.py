"""Who puts the viewer there may do what `teleprefetch viewer` asks of AWS, and nothing else."""

from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import boto3
import pytest

from tests.operate.test_viewer_on_aws import STACK, archive, aws, deploy, deployed, run
from tests.policy_faults import faults
from tests.policy_mutations import mutations
from tests.recorded_calls import EVERY_CALL, Names
from tests.template_policies import Grant, Policies, read_template

__all__ = ["archive", "aws", "deployed"]  # fixtures

HOLDER: Final = "ViewerDeployPolicy"


@pytest.fixture
def used(deployed: Any, archive: Path) -> set[Grant]:
    """What both commands ask, on moto."""
    bucket = deployed()
    # the template calls a stack by another name
    names = Names({"ViewerBucket": bucket}, key="", unencrypted=frozenset({bucket}))
    asked: set[tuple[str, str]] = set()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        given = params | ({"StackName": "local"} if "StackName" in params else {})
        asked.update(names.actions(model.service_model.service_id, model.name, given))

    session = boto3.Session()
    session.events.register_first(EVERY_CALL, note)
    # not longer than moto lasts, which puts its own back: a session keeps its credentials
    with patch.object(boto3, "DEFAULT_SESSION", session):
        assert run("config", "--stack", STACK).exit_code == 0
        assert deploy(archive).exit_code == 0
    return {Grant(holder=HOLDER, action=action, resource=arn) for action, arn in asked}


def _allowed(template: dict[str, Any]) -> list[Grant]:
    return [one for one in Policies(template).grants() if one.holder == HOLDER]


def test_who_deploys_the_viewer_may_do_what_its_commands_do(used: set[Grant]) -> None:
    assert list(faults(_allowed(read_template()), used)) == []


def test_a_policy_with_an_action_less_or_more_is_found(used: set[Grant]) -> None:
    changed = [one for one in mutations(read_template()) if one.holder == HOLDER]

    assert len(changed) == 4
    assert [one for one in changed if not list(faults(_allowed(one.template()), used))] == []
