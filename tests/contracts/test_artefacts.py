"""States, functions, template, settings and errors agree by name, so that one leads to all."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from teleprefetch.domain.tokens.roles import OPERATION_CLASSES
from teleprefetch.errors import LEAVES
from teleprefetch.settings import PipelineSettings
from teleprefetch.token_settings import TOKEN_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
MACHINES = sorted((ROOT / "statemachine").glob("*.asl.json"))
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
FUNCTIONS = {path.stem for path in (ROOT / "functions").glob("*.py")} - {"__init__"}
STEPS = {path.stem for path in (ROOT / "shared/teleprefetch/steps").glob("*.py")} - {"__init__"}
NOT_STATES = {"record_failure", "sweep_assignments", "sweep_imports"}  # targets of rules alone
NOT_STEPS = {"authorize"}  # asked by the data store, with the rules of domain/tokens


def states_of(machine: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, state in machine["States"].items():
        found[name] = state
        if "ItemProcessor" in state:
            found |= states_of(state["ItemProcessor"])
    return found


def all_states() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in MACHINES:
        found |= states_of(json.loads(path.read_text()))
    return found


def tasks() -> dict[str, dict[str, Any]]:
    return {name: state for name, state in all_states().items() if state["Type"] == "Task"}


def lambda_tasks() -> set[str]:
    return {name for name, state in tasks().items() if "FunctionArn}" in json.dumps(state)}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_each_lambda_state_has_a_function_a_step_and_a_resource_of_its_name() -> None:
    names = {snake(state) for state in lambda_tasks()}
    assert names | NOT_STATES == STEPS == FUNCTIONS - NOT_STEPS
    assert not names & NOT_STEPS
    handlers = {
        name.removesuffix("Function"): resource["Properties"]["Handler"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert {snake(name): handler for name, handler in handlers.items()} == {
        name: f"{name}.lambda_handler" for name in FUNCTIONS
    }


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_each_machine_gets_exactly_the_functions_it_names_and_may_invoke_them(path: Path) -> None:
    machine = path.stem.removesuffix(".asl").capitalize() + "Machine"
    properties = RESOURCES[machine]["Properties"]
    named = set(re.findall(r"\$\{(\w+)\}", path.read_text()))

    substitutions = properties["DefinitionSubstitutions"]
    assert set(substitutions) == named
    assert {name: value["Fn::GetAtt"] for name, value in substitutions.items()} == {
        name: [name.removesuffix("Arn"), "Arn"] for name in named
    }
    statements = next(one["Statement"] for one in properties["Policies"] if "Statement" in one)
    [invoked] = [
        one["Resource"] for one in statements if one.get("Action") == "lambda:InvokeFunction"
    ]
    assert [one["Fn::GetAtt"] for one in invoked] == [
        [name.removesuffix("Arn"), "Arn"] for name in properties["DefinitionSubstitutions"]
    ]


def test_each_task_has_a_time_out_and_a_retry_with_full_jitter_and_a_longest_delay() -> None:
    for name, state in tasks().items():
        assert "TimeoutSeconds" in state or "TimeoutSecondsPath" in state, name
        assert state["Retry"], name
        for retry in state["Retry"]:
            assert retry["JitterStrategy"] == "FULL", name
            assert retry["MaxDelaySeconds"] > 0, name


def test_machines_name_only_our_leaves_and_names_that_aws_documents() -> None:
    named = {
        error
        for state in tasks().values()
        for rule in (*state["Retry"], *state.get("Catch", ()))
        for error in rule["ErrorEquals"]
    }
    ours = {name for name in named if "." not in name}
    assert ours <= LEAVES
    assert {name.split(".")[0] for name in named - ours} <= {"States", "Lambda", "Sandbox"}


def test_a_failure_that_is_never_worth_a_retry_is_never_retried() -> None:
    final = {"InvalidPayloadError", "StudyNotFoundError", "AccessDeniedError", "States.ALL"}
    for name, state in tasks().items():
        for retry in state["Retry"]:
            assert not final & set(retry["ErrorEquals"]), name


def test_all_errors_are_caught_last_and_alone_as_the_language_wants_it() -> None:
    """States language, "Retrying after error" and "Fallback states"; no linter of .ci sees it."""
    for name, state in tasks().items():
        for rules in (state["Retry"], state.get("Catch", [])):
            every = [
                index for index, rule in enumerate(rules) if "States.ALL" in rule["ErrorEquals"]
            ]
            assert every in ([], [len(rules) - 1]), name
            assert all(rules[index]["ErrorEquals"] == ["States.ALL"] for index in every), name


def test_a_heartbeat_is_due_before_its_task_times_out() -> None:
    beating = {name: state for name, state in tasks().items() if "HeartbeatSeconds" in state}
    assert beating
    for name, state in beating.items():
        assert state["HeartbeatSeconds"] < state["TimeoutSeconds"], name


def test_every_next_leads_to_a_state_and_every_state_is_reached() -> None:
    for path in MACHINES:
        _check_graph(json.loads(path.read_text()))


def _check_graph(machine: dict[str, Any]) -> None:
    states = machine["States"]
    reached = {machine["StartAt"]}
    for state in states.values():
        rules = (*state.get("Catch", ()), *state.get("Choices", ()))
        reached |= {rule["Next"] for rule in rules}
        reached |= {state[key] for key in ("Next", "Default") if key in state}
        if "ItemProcessor" in state:
            _check_graph(state["ItemProcessor"])
    assert reached == set(states)


def test_each_setting_is_a_variable_of_the_template_and_the_reverse() -> None:
    given = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])
    for resource in RESOURCES.values():
        environment = resource.get("Properties", {}).get("Environment", {})
        given |= set(environment.get("Variables", {}))
    settings = {*PipelineSettings.model_fields, *TOKEN_SETTINGS}
    assert given == {name.upper() for name in settings}


def test_each_function_has_the_layer_but_the_authorizer_which_brings_its_own_few_modules() -> None:
    functions = {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    layer = [{"Ref": "TeleprefetchLayer"}]
    without = {name for name, given in functions.items() if given.get("Layers") != layer}
    assert without == {"AuthorizeFunction"}
    assert "Layers" not in TEMPLATE["Globals"]["Function"]


def test_the_data_store_is_given_the_alias_that_stands_ready_and_may_invoke_that_alone() -> None:
    alias = {"Ref": "AuthorizeFunction.Alias"}
    assert TEMPLATE["Outputs"]["AuthorizerArn"]["Value"] == alias
    function = RESOURCES["AuthorizeFunction"]["Properties"]
    assert function["AutoPublishAlias"] == "live"
    assert "ProvisionedConcurrencyConfig" in function
    permissions = [
        resource["Properties"]
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::Lambda::Permission"
    ]
    assert [given["FunctionName"] for given in permissions] == [alias]
    assert permissions[0]["Principal"] == "medical-imaging.amazonaws.com"
    assert "SourceArn" in permissions[0]


def test_each_readers_role_may_do_the_operations_of_its_class_and_nothing_else() -> None:
    for operation_class, name in (
        ("search", "SearchRole"),
        ("metadata", "MetadataRole"),
        ("frames", "FramesRole"),
    ):
        (policy,) = RESOURCES[name]["Properties"]["Policies"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        may = {action.removeprefix("medical-imaging:") for action in statement["Action"]}
        assert may <= {key for key, value in OPERATION_CLASSES.items() if value == operation_class}
        assert statement["Resource"]["Fn::Sub"].endswith(":datastore/${DatastoreId}")
        (trust,) = RESOURCES[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "medical-imaging.amazonaws.com"}


def test_the_failure_of_each_machine_reaches_a_function() -> None:
    watched: set[str] = set()
    for resource in RESOURCES.values():
        for rule in resource.get("Properties", {}).get("Events", {}).values():
            pattern = rule["Properties"].get("Pattern", {})
            if pattern.get("source") == ["aws.states"]:
                assert set(pattern["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
                watched |= {arn["Ref"] for arn in pattern["detail"]["stateMachineArn"]}
    assert watched == {"ImportMachine", "PrefetchMachine", "AssignmentMachine"}


def test_every_rule_has_a_dead_letter_queue() -> None:
    rules = [
        rule["Properties"]
        for resource in RESOURCES.values()
        for rule in resource.get("Properties", {}).get("Events", {}).values()
    ]
    assert rules
    assert all("DeadLetterConfig" in rule for rule in rules)


def test_no_module_is_longer_than_300_lines_and_no_machine_longer_than_250() -> None:
    modules = [*(ROOT / "shared").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    too_long = [path.name for path in modules if len(path.read_text().splitlines()) > 300]
    too_long += [path.name for path in MACHINES if len(path.read_text().splitlines()) > 250]
    assert not too_long
