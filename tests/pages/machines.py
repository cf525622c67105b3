"""The state machines as they are shipped: a diagram and a table of each, and what starts them."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from samtranslator.yaml_helper import yaml_parse

from tests.pages.blocks import ROOT, code, codes, table
from tests.pages.sources import first_line

_SHAPES: Final = {
    "Task": '["{}"]', "Choice": '{{"{}"}}', "Wait": '(["{}"])', "Pass": '[/"{}"/]',
    "Succeed": '(["{}"])', "Fail": '(["{}"])',
}  # fmt: skip
_LAMBDA: Final = re.compile(r"\$\{(\w+)FunctionArn\}")
_COMPARISONS: Final = {
    "BooleanEquals": "is", "NumericGreaterThan": ">", "StringEquals": "is", "IsPresent": "there:",
}  # fmt: skip
State = dict[str, Any]


@cache
def template() -> dict[str, Any]:
    """The template, with its intrinsic functions as objects."""
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


@cache
def machine(name: str) -> dict[str, Any]:
    """The definition of one machine."""
    path = ROOT / f"statemachine/{name}.asl.json"
    definition: dict[str, Any] = json.loads(path.read_text())
    return definition


def machine_names() -> list[str]:
    """The machines that are shipped."""
    paths = (ROOT / "statemachine").glob("*.asl.json")
    return sorted(path.name.removesuffix(".asl.json") for path in paths)


def diagram(name: str) -> str:
    """The states of a machine and every way between them, in Mermaid.

    Full lines are what comes next; broken lines are errors that are caught, with their names.
    """
    definition = machine(name)
    lines = ["flowchart TD", f'  begin(["{name}"]) --> {definition["StartAt"]}']
    lines += [f"  {line}" for line in _drawn(definition["States"])]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def states_table(name: str) -> str:
    """A row for each task of a machine: what it does, how long it may take, what is tried again."""
    rows = []
    for state_name, state in _states(machine(name)["States"]):
        if state["Type"] != "Task":
            continue
        limit = state.get("TimeoutSeconds", state.get("TimeoutSecondsPath"))
        rows.append(
            (
                code(state_name),
                _does(state),
                f"{limit} s" if isinstance(limit, int) else code(limit),
                codes(sorted(_retried(state))),
            )
        )
    return table(("state", "what it does", "at most", "tried again after"), rows)


def starters() -> str:
    """What starts machines, and functions that are no states: events and clocks, in Mermaid."""
    lines = ["flowchart LR"]
    for number, (what, target) in enumerate(_rules()):
        lines.append(f'  e{number}(["{what}"]) --> {target}')
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def import_detail_types() -> list[str]:
    """The detail-types of HealthImaging's events that start the machine `import`."""
    events = template()["Resources"]["ImportMachine"]["Properties"]["Events"]
    named: list[str] = events["HealthImagingEvent"]["Properties"]["Pattern"]["detail-type"]
    return named


def retried_and_caught(states: dict[str, State]) -> Iterator[tuple[str, set[str], set[str]]]:
    """Each state with the errors that it is tried again after, and those that it catches."""
    for name, state in _states(states):
        named = [
            {error for rule in state.get(key, ()) for error in rule["ErrorEquals"]}
            for key in ("Retry", "Catch")
        ]
        yield name, named[0], named[1]


def _rules() -> Iterator[tuple[str, str]]:
    for name, resource in template()["Resources"].items():
        for rule in resource.get("Properties", {}).get("Events", {}).values():
            given = rule["Properties"]
            what = given.get("Schedule") or _pattern(given["Pattern"])
            yield what, name
        if resource["Type"] == "AWS::Events::Rule":
            yield _pattern(resource["Properties"]["EventPattern"]), name


def _pattern(pattern: dict[str, Any]) -> str:
    kinds = "<br>".join(pattern["detail-type"])
    watched = pattern.get("detail", {}).get("stateMachineArn", ())
    of = "<br>of " + ", ".join(arn["Ref"] for arn in watched) if watched else ""
    return kinds + of


def _drawn(states: dict[str, State]) -> Iterator[str]:
    for name, state in states.items():
        if state["Type"] == "Map":
            yield from _drawn_map(name, state)
        else:
            yield name + _SHAPES[state["Type"]].format(name)
        yield from _ways(name, state)


def _drawn_map(name: str, state: State) -> Iterator[str]:
    inner = state["ItemProcessor"]
    yield f'subgraph {name}["{name}: each of {state["ItemsPath"]}"]'
    for line in _drawn(inner["States"]):
        yield f"  {line}"
    yield "end"


def _ways(name: str, state: State) -> Iterator[str]:
    if "Next" in state:
        yield f"{name} --> {state['Next']}"
    for choice in state.get("Choices", ()):
        yield f'{name} -->|"{_condition(choice)}"| {choice["Next"]}'
    if "Default" in state:
        yield f"{name} -->|else| {state['Default']}"
    for caught in state.get("Catch", ()):
        yield f'{name} -.->|"{"<br>".join(caught["ErrorEquals"])}"| {caught["Next"]}'


def _condition(choice: dict[str, Any]) -> str:
    if "And" in choice:
        return " and ".join(_condition(one) for one in choice["And"])
    variable = choice["Variable"].removeprefix("$.")
    (key,) = choice.keys() & _COMPARISONS.keys()
    value = json.dumps(choice[key]).strip('"')
    if key == "IsPresent":
        return f"{variable} is {'there' if choice[key] else 'not there'}"
    return f"{variable} {_COMPARISONS[key]} {value}"


def _states(states: dict[str, State]) -> Iterator[tuple[str, State]]:
    for name, state in states.items():
        yield name, state
        if "ItemProcessor" in state:
            yield from _states(state["ItemProcessor"]["States"])


def _retried(state: State) -> set[str]:
    """Our own errors, and Step Functions' own; what Lambda adds is always tried again."""
    named = {error for rule in state.get("Retry", ()) for error in rule["ErrorEquals"]}
    return {error for error in named if not error.startswith(("Lambda.", "Sandbox."))}


def _does(state: State) -> str:
    found = _LAMBDA.search(json.dumps(state))
    if found is None:
        waits = ".waitForTaskToken" in state["Resource"]
        return "sends a message to a node's queue" + (" and waits for its answer" if waits else "")
    module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", found[1]).lower()
    told = first_line(f"teleprefetch.steps.{module}").partition(": ")[2]
    return told.rstrip(".")
