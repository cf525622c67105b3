"""Every policy of the template: what is allowed is what is used, and each resource is named.

Here are those whose use is in the template itself - machines, rules, queues, keys, readers. What
functions and nodes use is run in `tests/e2e/test_least_privilege.py`, what operators use in
`test_operator_policy.py`, and who puts the viewer there in `test_viewer_policy.py`.
"""

import re
from collections.abc import Iterable
from typing import Final

import pytest

from tests.policy_faults import faults
from tests.policy_mutations import Mutation, mutations
from tests.policy_uses import LOG_DELIVERY, uses
from tests.recorded_calls import WITHOUT_RESOURCE
from tests.template_policies import MANAGED, Grant, Policies, read_template

POLICIES: Final = Policies(read_template())
USED: Final = frozenset(uses(POLICIES))
FUNCTIONS: Final = frozenset(
    given["Role"]["Fn::GetAtt"][0] for _, given in POLICIES.of_type("AWS::Lambda::Function")
)
BY_CODE: Final = FUNCTIONS | {"NodeRole", "OperatorPolicy", "ViewerDeployPolicy"}
"""Whose use is in code, and is run by other tests."""
HOLDERS: Final = sorted({grant.holder for grant in POLICIES.grants()} - BY_CODE)
# Service Authorization Reference, by service: the resource types of an action
RESOURCES: Final = {
    r"s3:ListBucket": r"arn:aws:s3:::[^/]+",
    r"s3:(Get|Put)Object\w*": r"arn:aws:s3:::[^/]+/.+",
    r"dynamodb:Query": r"arn:aws:dynamodb:.+:table/\w+(/index/\*)?",
    r"dynamodb:(?!Query)\w+": r"arn:aws:dynamodb:.+:table/\w+",
    r"medical-imaging:Get(ImageSetMetadata|ImageFrame)": r".+:datastore/[^/]+(/imageset/\*)?",
    r"medical-imaging:(?!GetImageSetMetadata|GetImageFrame)\w+": r".+:datastore/[^/]+",
    r"sqs:\w+": r"arn:aws:sqs:.+:\w+|<OtherNodeQueueArns>",
    r"kms:\S+": r"arn:aws:kms:.+:key/\w+|<OtherNodeKeyArns>",
    r"lambda:(InvokeFunction|GetFunctionConfiguration)": r"arn:aws:lambda:.+:function:\w+(:live)?",
    r"states:(StartExecution|ListExecutions|SendTask\w+)": r"arn:aws:states:.+:stateMachine:[\w-]+",
    r"states:(DescribeExecution|GetExecutionHistory|RedriveExecution)":
        r"arn:aws:states:.+:execution:[\w-]+:\*",
    r"events:(DescribeRule|ListTargetsByRule)": r"arn:aws:events:.+:rule/\w+",
    r"events:PutEvents": r"arn:aws:events:.+:event-bus/default",
    r"events:InvokeApiDestination": r"arn:aws:events:.+:api-destination/\w+",
    r"cloudformation:\w+": r"arn:aws:cloudformation:.+:stack/\w+/\w+",
    r"sts:AssumeRole": r"arn:aws:iam::.+:role/\w+",
}  # fmt: skip
NOT_NARROWED: Final = frozenset(LOG_DELIVERY) | WITHOUT_RESOURCE
"""On `*`: of log deliveries the Step Functions developer guide says so ("Logging using CloudWatch
Logs"), of Lambda's account settings the Service Authorization Reference, "AWS Lambda"."""


def of_holder(grants: Iterable[Grant], holder: str) -> list[Grant]:
    """Those of a holder, and of a role whose code is run elsewhere what AWS manages alone."""
    return [
        one for one in grants
        if one.holder == holder and (holder not in BY_CODE or one.action == MANAGED)
    ]  # fmt: skip


@pytest.mark.parametrize("holder", sorted({*HOLDERS, *FUNCTIONS}))
def test_what_is_allowed_is_used_and_what_is_used_is_allowed(holder: str) -> None:
    used = set(of_holder(USED, holder))

    assert used
    assert list(faults(of_holder(POLICIES.grants(), holder), used)) == []


def test_nothing_is_used_of_a_policy_that_is_not_there() -> None:
    assert {use.holder for use in USED} == {*HOLDERS, *FUNCTIONS}


@pytest.mark.parametrize("grant", POLICIES.grants(), ids=lambda one: f"{one.holder} {one.action}")
def test_a_grant_names_its_resource(grant: Grant) -> None:
    if grant.action == MANAGED:
        return
    if grant.resource == "*":
        assert grant.action in NOT_NARROWED
        return
    [shape] = [shape for action, shape in RESOURCES.items() if re.fullmatch(action, grant.action)]
    assert re.fullmatch(shape, grant.resource)


def test_an_action_is_a_wildcard_in_policies_of_keys_alone() -> None:
    keys = {name for name, _ in POLICIES.of_type("AWS::KMS::Key")}

    assert {grant.holder for grant in POLICIES.grants() if "*" in grant.action} <= keys


def _of_this_file() -> list[Mutation]:
    return [
        one for one in mutations(read_template())
        if one.holder not in BY_CODE or (one.is_managed and one.holder != "NodeRole")
    ]  # fmt: skip


@pytest.mark.parametrize("mutation", _of_this_file(), ids=str)
def test_a_policy_with_an_action_less_or_more_is_found(mutation: Mutation) -> None:
    changed = Policies(mutation.template())

    allowed = of_holder(changed.grants(), mutation.holder)
    assert list(faults(allowed, of_holder(USED, mutation.holder)))
