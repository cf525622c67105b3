"""What the template's own resources do to each other, and so what their policies must allow.

Read from the state machines, rules, queues, keys, logs and the authorizer as they are shipped; what
AWS asks beside that is data with its source.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from teleprefetch.domain.tokens.roles import OPERATION_CLASSES
from tests.template_policies import ACCOUNT, MANAGED, REGION, Grant, Policies, listed

LOG_DELIVERY: Final = (
    "logs:CreateLogDelivery", "logs:CreateLogStream", "logs:GetLogDelivery",
    "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries",
    "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
)  # fmt: skip
"""Of a machine with a log (Step Functions developer guide, "Logging using CloudWatch Logs")."""
LOG_KEY: Final = (
    "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
)  # fmt: skip
"""Of CloudWatch Logs (its user guide, "Encrypt log data in CloudWatch Logs using AWS KMS")."""
QUEUE_KEY: Final = ("kms:GenerateDataKey", "kms:Decrypt")
"""Of who sends to an encrypted queue (SQS developer guide, "Key management")."""
KEY_OWNER: Final = ("kms:*",)
"""Of the account, so that IAM policies count (AWS KMS developer guide, "Default key policy")."""
AUTHORIZED_AS: Final = {
    "SearchDICOMStudyInstances": "SearchDICOMInstances",
    "SearchDICOMAllInstances": "SearchDICOMInstances",
    "SearchDICOMAllSeries": "SearchDICOMSeries",
}
"""Operations without an action of their own (Service Authorization Reference, "AWS
HealthImaging": three searches)."""
_AWS: Final = "arn:aws:iam::aws:policy"
MANAGED_BY: Final = {
    "function": f"{_AWS}/service-role/AWSLambdaBasicExecutionRole",
    "traced machine": f"{_AWS}/AWSXrayWriteOnlyAccess",
    "start of a task": f"{_AWS}/service-role/AmazonECSTaskExecutionRolePolicy",
    "host of tasks": f"{_AWS}/service-role/AmazonEC2ContainerServiceforEC2Role",
}
"""AWS Lambda developer guide, "Defining Lambda function permissions with an execution role"; SAM's
`Tracing` of a state machine; ECS developer guide, "Amazon ECS task execution IAM role" and "Amazon
ECS container instance IAM role"."""


def uses(policies: Policies) -> Iterator[Grant]:
    """All of them; those of functions', nodes' and operators' own code are not among them."""
    yield from _of_machines(policies)
    yield from _of_rules(policies)
    yield from _of_logs(policies)
    yield from _of_readers(policies)
    yield from _of_viewer(policies)
    yield from _of_tasks(policies)
    yield from _of_failed_invocations(policies)
    for function, given in policies.of_type("AWS::Lambda::Function"):
        role = _role(given["Role"])
        yield _trust(policies, role, "lambda.amazonaws.com")
        yield Grant(holder=role, action=MANAGED, resource=MANAGED_BY["function"])
        assert function
    for key, _given in policies.of_type("AWS::KMS::Key"):
        for action in KEY_OWNER:
            root = f"arn:aws:iam::{ACCOUNT}:root"
            yield Grant(holder=key, action=action, resource=policies.arn(key), principal=root)


def _of_machines(policies: Policies) -> Iterator[Grant]:
    for _name, given in policies.of_type("AWS::StepFunctions::StateMachine"):
        role = _role(given["RoleArn"])
        yield _trust(policies, role, "states.amazonaws.com")
        substitutions = policies.value(given["DefinitionSubstitutions"])
        definition = json.loads("".join(given["DefinitionString"]["Fn::Join"][1]))
        for task in tasks(definition["States"]):
            for action, resource in _of_task(policies, task, substitutions):
                yield Grant(holder=role, action=action, resource=resource)
        if policies.value(given.get("LoggingConfiguration", {})).get("Level", "OFF") != "OFF":
            for action in LOG_DELIVERY:
                yield Grant(holder=role, action=action, resource="*")
        if given.get("TracingConfiguration", {}).get("Enabled"):
            yield Grant(holder=role, action=MANAGED, resource=MANAGED_BY["traced machine"])


def tasks(states: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tasks among states, those within maps too."""
    for state in states.values():
        if state["Type"] == "Task":
            yield state
        for inner in (*state.get("Branches", ()), state.get("ItemProcessor", {})):
            yield from tasks(inner.get("States", {}))


def _of_task(
    policies: Policies, task: dict[str, Any], substitutions: dict[str, str]
) -> Iterator[tuple[str, str]]:
    resource = task["Resource"]
    service = resource.removeprefix("arn:aws:states:::").removesuffix(".waitForTaskToken")
    if service == "lambda:invoke":
        resource = task["Parameters"]["FunctionName"]
    if service == "sqs:sendMessage":
        assert task["Parameters"]["QueueUrl.$"] == "$.queue_url"  # by ROUTING
        yield from _of_queues(policies)
        return
    # any other would be a service that this does not know
    yield "lambda:InvokeFunction", substitutions[resource.removeprefix("${").removesuffix("}")]


def _of_queues(policies: Policies) -> Iterator[tuple[str, str]]:
    """The queues that ROUTING may name, and their keys: this stack's, and those of other stacks."""
    functions = dict(policies.of_type("AWS::Lambda::Function"))
    routing = functions["PlanWarmFunction"]["Environment"]["Variables"]["ROUTING"]
    shipped = routing["Fn::If"][2]["Fn::Sub"]
    for name, given in policies.of_type("AWS::SQS::Queue"):
        if f'"${{{name}}}"' in shipped:
            yield "sqs:SendMessage", policies.arn(name)
            for action in QUEUE_KEY:
                yield action, policies.value(given["KmsMasterKeyId"])
    yield "sqs:SendMessage", "<OtherNodeQueueArns>"
    for action in QUEUE_KEY:
        yield action, "<OtherNodeKeyArns>"


def _of_rules(policies: Policies) -> Iterator[Grant]:
    events = "events.amazonaws.com"
    for rule, given in policies.of_type("AWS::Events::Rule"):
        source = policies.arn(rule)
        for target in given["Targets"]:
            queue = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
            yield from _dead_letters(policies, queue, events, source)
            if "RoleArn" in target:
                role = _role(target["RoleArn"])
                yield _trust(policies, role, events)
                yield Grant(holder=role, **_through(policies.value(target["Arn"])))
            elif "Fn::GetAtt" in target["Arn"]:
                function = policies.value(target["Arn"])
                yield Grant(
                    holder=f"{rule}Permission", action="lambda:InvokeFunction", resource=function,
                    principal=events, source=source,
                )  # fmt: skip
            else:
                assert target["Arn"] == {"Ref": "NoticeTopicArn"}  # its own policy lets events in


def _through(target: str) -> dict[str, str]:
    """What a rule's role does to a target (EventBridge user guide, "IAM roles for targets")."""
    kind = {":stateMachine:": "states:StartExecution", ":api-dest": "events:InvokeApiDestination"}
    [action] = [action for part, action in kind.items() if part in target]
    return {"action": action, "resource": target}


def _dead_letters(policies: Policies, queue: str, principal: str, source: str) -> Iterator[Grant]:
    """EventBridge user guide, "Using dead-letter queues to process undelivered events"."""
    yield Grant(
        holder=f"{queue}Policy", action="sqs:SendMessage", resource=policies.arn(queue),
        principal=principal, source=source,
    )  # fmt: skip
    key = policies.resources[queue]["Properties"]["KmsMasterKeyId"]["Fn::If"][2]["Fn::GetAtt"][0]
    for action in QUEUE_KEY:
        yield Grant(
            holder=key, action=action, resource=policies.arn(key), principal=principal,
            source=source,
        )  # fmt: skip


def _of_logs(policies: Policies) -> Iterator[Grant]:
    for name, given in policies.of_type("AWS::Logs::LogGroup"):
        key = given["KmsKeyId"]["Fn::If"][2]["Fn::GetAtt"][0]
        for action in LOG_KEY:
            yield Grant(
                holder=key, action=action, resource=policies.arn(key),
                principal=f"logs.{REGION}.amazonaws.com", source=policies.arn(name),
            )  # fmt: skip


def _of_readers(policies: Policies) -> Iterator[Grant]:
    """What the authorizer's own table lets the roles that it names be taken for."""
    imaging = "medical-imaging.amazonaws.com"
    datastore = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/<DatastoreId>"
    for function, given in policies.of_type("AWS::Lambda::Function"):
        variables = given.get("Environment", {}).get("Variables", {})
        if "READER_ROLES" not in variables:
            continue
        for alias, of in policies.of_type("AWS::Lambda::Alias"):
            if of["FunctionName"] == {"Ref": function}:
                yield Grant(
                    holder="AuthorizePermission", action="lambda:InvokeFunction",
                    resource=policies.arn(alias), principal=imaging, source=datastore,
                )  # fmt: skip
        shipped = policies.value(variables["READER_ROLES"]).replace("<ReaderGroups>", '["readers"]')
        for rule in json.loads(shipped):
            role = rule["role_arn"].rpartition("/")[2]
            yield _trust(policies, role, imaging)
            for operation, kind in OPERATION_CLASSES.items():
                if kind in rule["operations"]:
                    action = f"medical-imaging:{AUTHORIZED_AS.get(operation, operation)}"
                    yield Grant(holder=role, action=action, resource=datastore)


def _of_viewer(policies: Policies) -> Iterator[Grant]:
    """CloudFront developer guide, "Restrict access to an Amazon S3 origin"."""
    for name, given in policies.of_type("AWS::CloudFront::Distribution"):
        for origin in given["DistributionConfig"]["Origins"]:
            bucket = origin["DomainName"]["Fn::GetAtt"][0]
            assert origin["OriginAccessControlId"], name
            yield Grant(
                holder=f"{bucket}Policy", action="s3:GetObject",
                resource=f"{policies.arn(bucket)}/*", principal="cloudfront.amazonaws.com",
                source=f"arn:aws:cloudfront::{ACCOUNT}:distribution/{name}",
            )  # fmt: skip


def _of_tasks(policies: Policies) -> Iterator[Grant]:
    ecs = f"arn:aws:ecs:{REGION}:{ACCOUNT}:*"
    for _name, given in policies.of_type("AWS::ECS::TaskDefinition"):
        for key in ("TaskRoleArn", "ExecutionRoleArn"):
            yield _trust(policies, _role(given[key]), "ecs-tasks.amazonaws.com", source=ecs)
        start = _role(given["ExecutionRoleArn"])
        yield Grant(holder=start, action=MANAGED, resource=MANAGED_BY["start of a task"])
    for _name, given in policies.of_type("AWS::IAM::InstanceProfile"):
        for one in listed(policies.value(given["Roles"])):
            yield _trust(policies, one, "ec2.amazonaws.com")
            yield Grant(holder=one, action=MANAGED, resource=MANAGED_BY["host of tasks"])


def _of_failed_invocations(policies: Policies) -> Iterator[Grant]:
    """What Lambda sends by a function's role (its developer guide, "Capturing records of Lambda
    asynchronous invocations").
    """
    functions = dict(policies.of_type("AWS::Lambda::Function"))
    for _name, given in policies.of_type("AWS::Lambda::EventInvokeConfig"):
        role = _role(functions[given["FunctionName"]["Ref"]]["Role"])
        queue = given["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
        yield Grant(holder=role, action="sqs:SendMessage", resource=policies.arn(queue))
        key = policies.value(policies.resources[queue]["Properties"]["KmsMasterKeyId"])
        for action in QUEUE_KEY:
            yield Grant(holder=role, action=action, resource=key)


def _trust(policies: Policies, role: str, principal: str, *, source: str = "*") -> Grant:
    arn = policies.arn(role)
    holder = f"{role}: trust"
    return Grant(
        holder=holder, action="sts:AssumeRole", resource=arn, principal=principal, source=source
    )


def _role(given: Any) -> str:
    name: str = given["Fn::GetAtt"][0]
    return name
