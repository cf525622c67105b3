"""The notice's way to a webhook: by EventBridge alone, with its secret and its dead letters."""

import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from teleprefetch.steps.release_assignment import LATE_WARM, NOTICE

ROOT = Path(__file__).resolve().parents[2]
OURS = (
    "NoticeWebhookConnection",
    "NoticeWebhookDestination",
    "NoticeWebhookRole",
    "NoticesToWebhook",
)


@pytest.fixture(scope="module")
def template() -> Any:
    return yaml_parse((ROOT / "template.yaml").read_text())


def test_there_is_nothing_of_it_unless_an_address_is_given(template: Any) -> None:
    named = [name for name in template["Resources"] if "Webhook" in name]

    assert sorted(named) == sorted(OURS)
    assert {template["Resources"][name]["Condition"] for name in OURS} == {"NoticeWebhookGiven"}
    assert template["Parameters"]["NoticeWebhookUrl"]["Default"] == ""


def test_each_notice_goes_to_it_and_what_it_does_not_take_is_a_dead_letter(template: Any) -> None:
    rule = template["Resources"]["NoticesToWebhook"]["Properties"]
    [target] = rule["Targets"]
    [to_topic] = template["Resources"]["NoticesToTopic"]["Properties"]["Targets"]

    assert rule["EventPattern"] == {
        "source": ["teleprefetch"],
        "detail-type": [NOTICE, LATE_WARM],
    }
    assert target["Arn"] == {"Fn::GetAtt": ["NoticeWebhookDestination", "Arn"]}
    assert target["DeadLetterConfig"] == to_topic["DeadLetterConfig"]
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] >= 600
    queue = template["Resources"]["EventsDeadLetterQueuePolicy"]["Properties"]["PolicyDocument"]
    [allowed] = queue["Statement"]
    assert allowed["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"].endswith(":rule/*")


def test_its_role_may_call_it_and_nothing_else(template: Any) -> None:
    role = template["Resources"]["NoticeWebhookRole"]["Properties"]
    [policy] = role["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]

    assert statement["Action"] == "events:InvokeApiDestination"
    assert statement["Resource"] == {"Fn::GetAtt": ["NoticeWebhookDestination", "Arn"]}
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}


def test_its_secret_is_in_the_connection_alone_and_is_never_shown(template: Any) -> None:
    text = (ROOT / "template.yaml").read_text()
    secret = template["Parameters"]["NoticeWebhookSecret"]
    [rule] = template["Rules"]["AWebhookHasASecret"]["Assertions"]

    assert secret["NoEcho"] is True
    assert rule["Assert"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "NoticeWebhookSecret"}, secret["Default"]]}]
    }
    used = re.findall(r"!Ref NoticeWebhookSecret|\$\{NoticeWebhookSecret\}", text)
    assert len(used) == 2  # the connection, and the rule that it is given
    key = template["Resources"]["NoticeWebhookConnection"]["Properties"]["AuthParameters"]
    assert key["ApiKeyAuthParameters"]["ApiKeyValue"] == {"Ref": "NoticeWebhookSecret"}


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://worklist.example/notices", True),
        ("", True),
        ("http://worklist.example/notices", False),
        ("https://worklist.example/notices?token=secret", False),
    ],
)
def test_it_is_reached_by_https_and_without_a_secret_in_its_address(
    template: Any, url: str, is_taken: bool
) -> None:
    pattern = template["Parameters"]["NoticeWebhookUrl"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, url)) is is_taken
