"""What the policies of the template allow: who may do what to which resource, one grant each.

The template is expanded as SAM does it and read with everything in it made. An ARN ends in the
logical id of what it names; what only a parameter knows is written `<Parameter>`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from teleprefetch.local.aws import TEMPLATE
from teleprefetch.local.template import expand

STACK: Final = "local"
REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
NOT_TAKEN: Final = frozenset({"DataKeyGiven", "AuthorizerDatastoreGiven", "ReaderRolesGiven"})
"""Conditions that are false here: the stack's own key, data store and roles are looked at."""
MANAGED: Final = "(a managed policy of AWS)"
_MANAGED_POLICY: Final = "AWS::IAM::ManagedPolicy"
_PSEUDO: Final = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": STACK,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/1",
}
_ARNS: Final = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{}}",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{{}}",
    "AWS::Events::ApiDestination": f"arn:aws:events:{REGION}:{ACCOUNT}:api-destination/{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{STACK}-{{}}",
    "AWS::IAM::InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{{}}",
}
_REFS_ARE_ARNS: Final = {"AWS::StepFunctions::StateMachine", "AWS::Lambda::Alias"}
_NAMES: Final = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Grant:
    """One action on one resource.

    `holder` is the role, or the managed policy that no role of the template has, or what a policy
    of its own guards; `principal` is who may, where the policy names it; `source` is in whose name.
    """

    holder: str
    action: str
    resource: str
    principal: str = ""
    source: str = "*"


class Policies:
    """The policies of one expanded template."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.resources: dict[str, Any] = template["Resources"]

    def of_type(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The resources of a type by logical id, with their properties."""
        for logical_id, one in self.resources.items():
            if one["Type"] == name:
                yield logical_id, one.get("Properties", {})

    def value(self, given: Any) -> Any:
        """What CloudFormation makes of a value; None for no value."""
        if isinstance(given, list):
            return [value for one in given if (value := self.value(one)) is not None]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            [(name, argument)] = given.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Fn::GetAtt":
                return self._attribute(*argument)
            if name == "Fn::Sub":
                return self._substituted(argument)
            if name == "Fn::If":
                return self.value(argument[2 if argument[0] in NOT_TAKEN else 1])
        return {
            name: value for name, one in given.items() if (value := self.value(one)) is not None
        }

    def arn(self, logical_id: str) -> str:
        """The ARN of a resource."""
        one = self.resources[logical_id]
        properties = one.get("Properties", {})
        if one["Type"] == "AWS::StepFunctions::StateMachine":
            name = self.value(properties["StateMachineName"])
            return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}"
        if one["Type"] == "AWS::Lambda::Alias":
            return f"{self.arn(properties['FunctionName']['Ref'])}:{properties['Name']}"
        if "LogGroupName" in properties:
            return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:" + str(
                self.value(properties["LogGroupName"])
            )
        return _ARNS[one["Type"]].format(logical_id)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return None
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name not in self.resources:
            return f"<{name}>"
        return self.arn(name) if self.resources[name]["Type"] in _REFS_ARE_ARNS else name

    def _attribute(self, name: str, attribute: str) -> str:
        return self.arn(name) if attribute == "Arn" else f"<{name}.{attribute}>"

    def _substituted(self, argument: Any) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument

        def known(found: re.Match[str]) -> str:
            name, _, attribute = found[1].partition(".")
            if name in given:
                return str(self.value(given[name]))
            return str(self._attribute(name, attribute) if attribute else self._ref(name))

        return _NAMES.sub(known, text)

    def attached(self) -> dict[str, set[str]]:
        """The roles of the template that have each of its managed policies."""
        found: dict[str, set[str]] = {name: set() for name, _ in self.of_type(_MANAGED_POLICY)}
        for role, properties in self.of_type("AWS::IAM::Role"):
            for one in properties.get("ManagedPolicyArns", ()):
                if isinstance(one, dict) and "Ref" in one:
                    found[one["Ref"]].add(role)
        return found

    def documents(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Each policy's document: its name, its holder, and the document, which may be changed."""
        for role, properties in self.of_type("AWS::IAM::Role"):
            yield f"{role}: trust", f"{role}: trust", properties["AssumeRolePolicyDocument"]
            for number, one in enumerate(properties.get("Policies", ())):
                yield f"{role}: policy {number}", role, one["PolicyDocument"]
        attached = self.attached()
        for name, properties in self.of_type(_MANAGED_POLICY):
            for holder in sorted(attached[name]) or [name]:
                yield name, holder, properties["PolicyDocument"]
        for name, properties in self.of_type("AWS::KMS::Key"):
            yield name, name, properties["KeyPolicy"]
        for kind, key in (("AWS::SQS::QueuePolicy", "Queues"), ("AWS::S3::BucketPolicy", "Bucket")):
            for name, properties in self.of_type(kind):
                yield name, name, properties["PolicyDocument"]
                assert self.value(properties[key]), name

    def grants(self) -> list[Grant]:
        """All that is allowed."""
        found = [
            grant
            for _name, holder, document in self.documents()
            for statement in self.value(document["Statement"])
            for grant in self._of_statement(holder, statement)
        ]
        for name, properties in self.of_type("AWS::Lambda::Permission"):
            given = self.value(properties)
            function = given["FunctionName"]
            arn = function if function.startswith("arn:") else self.arn(function)
            found.append(
                Grant(
                    holder=name,
                    action=given["Action"],
                    resource=arn,
                    principal=given["Principal"],
                    source=given["SourceArn"],
                )
            )
        for role, properties in self.of_type("AWS::IAM::Role"):
            found += [
                Grant(holder=role, action=MANAGED, resource=one)
                for one in self.value(properties.get("ManagedPolicyArns", []))
                if one.startswith("arn:")
            ]
        return found

    def _of_statement(self, holder: str, statement: dict[str, Any]) -> Iterator[Grant]:
        assert statement["Effect"] == "Allow", holder
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), holder
        itself = holder.removesuffix(": trust")
        is_own = itself != holder or self.resources[itself]["Type"] == "AWS::KMS::Key"
        own = self.arn(itself) if is_own else ""
        for action in listed(statement["Action"]):
            for resource in listed(statement.get("Resource", own)):
                for principal in _principals(statement.get("Principal", "")):
                    for source in _sources(statement.get("Condition", {})):
                        yield Grant(
                            holder=holder,
                            action=action,
                            # in the policy of a key, * is the key (KMS guide, "Key policies")
                            resource=own if own and resource == "*" else resource,
                            principal=principal,
                            source=source,
                        )


def listed(one: Any) -> list[Any]:
    """The same as a list, if it is none."""
    return one if isinstance(one, list) else [one]


def _principals(given: Any) -> list[str]:
    if not given:
        return [""]
    [(_kind, who)] = given.items()
    return listed(who)


def _sources(condition: dict[str, Any]) -> list[str]:
    named = [
        source
        for test in condition.values()
        for key, value in test.items()
        if key in {"aws:SourceArn", "kms:EncryptionContext:aws:logs:arn"}
        for source in listed(value)
    ]
    return named or ["*"]


def read_template() -> dict[str, Any]:
    """The shipped template as CloudFormation gets it; the caller may change it."""
    copy: dict[str, Any] = json.loads(_expanded())
    return copy


@cache
def _expanded() -> str:
    with patch.dict("os.environ", {"AWS_DEFAULT_REGION": REGION}):
        return json.dumps(expand(TEMPLATE).cloudformation)
