"""What is kept is encrypted with one key, logs hold no data, and machines send nowhere else."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from samtranslator.yaml_helper import yaml_parse

from teleprefetch.local.aws import LocalAws
from teleprefetch.local.stack import LocalStack, StackOptions

TEMPLATE = yaml_parse((Path(__file__).resolve().parents[2] / "template.yaml").read_text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
KEY = {"Fn::If": ["DataKeyGiven", {"Ref": "DataKeyArn"}, {"Fn::GetAtt": ["DataKey", "Arn"]}]}
MACHINES = ("ImportMachine", "PrefetchMachine", "AssignmentMachine")
OTHERS = ("arn:aws:sqs:us-east-1:123456789012:b", "arn:aws:sqs:eu-west-1:123456789012:c")
OTHER_KEY = "arn:aws:kms:eu-west-1:123456789012:key/0b1c"


def _of(kind: str) -> dict[str, Any]:
    found = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == kind}
    assert found
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_logs_what_failed_without_the_data_that_passed_and_is_traced(
    machine: str,
) -> None:
    properties = RESOURCES[machine]["Properties"]

    assert properties["Logging"]["IncludeExecutionData"] is False
    assert properties["Logging"]["Level"] == "ERROR"
    assert properties["Tracing"] == {"Enabled": True}
    assert {"Ref": "MachineLogDelivery"} in properties["Policies"]


def test_every_machine_is_among_them() -> None:
    assert set(_of("AWS::Serverless::StateMachine")) == set(MACHINES)


def test_every_log_group_is_encrypted_with_the_key_and_forgets() -> None:
    for name, group in _of("AWS::Logs::LogGroup").items():
        assert group["KmsKeyId"] == KEY, name
        assert group["RetentionInDays"] <= 90, name
    assert TEMPLATE["Globals"]["Function"]["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLogs"}}


def test_table_queues_and_documents_are_encrypted_with_the_key() -> None:
    for table in _of("AWS::DynamoDB::Table").values():
        assert table["SSESpecification"]["KMSMasterKeyId"] == KEY
    for name, queue in _of("AWS::SQS::Queue").items():
        assert queue["KmsMasterKeyId"] == KEY, name
    [rule] = _encryption("DocumentsBucket")
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KEY
    assert rule["BucketKeyEnabled"] is True


def test_what_the_lock_keeps_needs_no_key_that_somebody_may_delete() -> None:
    [rule] = _encryption("AuditBucket")

    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms"}


def _encryption(bucket: str) -> Any:
    encryption = RESOURCES[bucket]["Properties"]["BucketEncryption"]
    return encryption["ServerSideEncryptionConfiguration"]


def test_the_key_rotates_and_no_service_uses_it_but_for_this_stacks_logs_and_lost_events() -> None:
    key = RESOURCES["DataKey"]["Properties"]
    administration, logs, events = key["KeyPolicy"]["Statement"]

    assert key["EnableKeyRotation"] is True
    assert list(administration["Principal"]) == ["AWS"]
    assert logs["Principal"] == {"Service": {"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}}
    assert all("${AWS::StackName}" in one["Fn::Sub"] for one in _arns(logs))
    assert events["Principal"] == {"Service": "events.amazonaws.com"}
    assert events["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def _arns(statement: Any) -> Any:
    return statement["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]


@contextmanager
def _deployed(**parameters: str) -> Iterator[LocalAws]:
    with LocalStack(StackOptions(with_node=False, parameters=parameters)) as stack:
        yield stack.aws


def _may(aws: LocalAws, machine: str, action: str) -> set[str]:
    """What a machine's role may do an action to."""
    iam, role = boto3.client("iam"), aws.physical[f"{machine}Role"]
    documents = [
        # moto's CloudFormation keeps a policy as Python writes it, and not as JSON
        ast.literal_eval(str(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]))
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    return {
        resource
        for document in documents
        for statement in document["Statement"]
        if statement is not None and action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    }


def _listed(given: Any) -> list[str]:
    return given if isinstance(given, list) else [given]


def test_machines_send_to_the_stacks_own_queue_alone() -> None:
    with _deployed() as aws:
        own = aws.outputs["NodeQueueUrl"].rpartition("/")[2]
        for machine in ("ImportMachine", "PrefetchMachine"):
            [queue] = _may(aws, machine, "sqs:SendMessage")
            assert queue.endswith(f":{own}")
        assert _may(aws, "AssignmentMachine", "sqs:SendMessage") == set()


def test_machines_send_to_the_queues_of_other_nodes_that_are_named_and_to_no_more() -> None:
    with _deployed(OtherNodeQueueArns=",".join(OTHERS), OtherNodeKeyArns=OTHER_KEY) as aws:
        own = aws.outputs["NodeQueueUrl"].rpartition("/")[2]
        key = aws.physical["DataKey"]
        for machine in ("ImportMachine", "PrefetchMachine"):
            queues = _may(aws, machine, "sqs:SendMessage")
            assert len(queues) == 3
            assert {one for one in queues if not one.endswith(f":{own}")} == set(OTHERS)
            keys = _may(aws, machine, "kms:GenerateDataKey")
            assert {one for one in keys if not one.endswith(key)} == {OTHER_KEY}
            assert len(keys) == 2


def test_a_key_that_is_given_takes_the_place_of_the_stacks_own() -> None:
    given = "arn:aws:kms:us-east-1:123456789012:key/5a7d"
    with _deployed(DataKeyArn=given) as aws:
        queue = boto3.client("sqs").get_queue_attributes(
            QueueUrl=aws.outputs["NodeQueueUrl"], AttributeNames=["KmsMasterKeyId"]
        )

        assert "DataKey" not in aws.physical
        assert queue["Attributes"]["KmsMasterKeyId"] == given
        assert _may(aws, "PrefetchMachine", "kms:GenerateDataKey") == {given}
