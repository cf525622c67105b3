"""The security page knows every store of the template, and every part of the Security Rule."""

import re

from tests.pages.blocks import DOCS
from tests.pages.machines import template

PAGE = (DOCS / "security.md").read_text()
_STORES = {
    "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Logs::LogGroup",
    "AWS::RDS::DBInstance", "AWS::EFS::FileSystem", "AWS::OpenSearchService::Domain",
    "AWS::KinesisFirehose::DeliveryStream", "AWS::SNS::Topic", "AWS::SSM::Parameter",
    "AWS::SecretsManager::Secret",
}  # fmt: skip
# 45 CFR 164.312
_RULE = (
    "(a)(1)", "(a)(2)(i)", "(a)(2)(ii)", "(a)(2)(iii)", "(a)(2)(iv)", "(b)", "(c)(1)", "(c)(2)",
    "(d)", "(e)(1)", "(e)(2)(i)", "(e)(2)(ii)",
)  # fmt: skip


def test_every_store_of_the_template_is_in_the_table_and_no_other_is() -> None:
    rows = PAGE.split("<!-- stores -->\n\n")[1].split("\n\n")[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    stores = {name for name, one in template()["Resources"].items() if one["Type"] in _STORES}

    assert named - {"STORE_PATH", "AUDIT_PATH", "NoticeTopicArn", "NoticeWebhookUrl"} == stores


def test_every_part_of_the_security_rules_technical_safeguards_is_mapped() -> None:
    mapped = re.findall(r"^\| (\([a-e]\)\S*) ", PAGE, re.MULTILINE)

    assert tuple(mapped) == _RULE


def test_every_threat_has_a_control_and_a_test_and_every_kind_of_threat_is_there() -> None:
    rows = re.findall(r"^\| ([STRIDE]) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)

    assert {kind for kind, *_ in rows} == set("STRIDE")
    assert all(control.strip() and "test_" in shown for _, _, control, shown in rows)
