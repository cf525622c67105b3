"""Runs a shipped state machine in virtual time: the states, Retry, Catch and time-outs, no clock.

The subset of the Amazon States Language that `assignment.asl.json` uses: Task by Lambda with or
without a task token, Choice, Wait, Succeed. moto runs the same file in real time in
`tests/statemachine`; here a thousand executions with every kind of trouble take seconds.
"""

import heapq
import itertools
import json
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
State = dict[str, Any]
Handler = Callable[[State], Any]


class MachineTime:
    """A clock that jumps from one thing to do to the next."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: datetime, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (max(when, self.now), next(self._order), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now + timedelta(seconds=seconds), act)

    def run(self, *, until: datetime) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()


class Aborted(Exception):  # noqa: N818 - a status, not an error
    """The execution is stopped from outside."""


class StateError(Exception):
    """What a state ends with when nothing catches it."""

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.cause = cause


@dataclass
class Waiting:
    """What an execution waits for: seconds, or the answer to a token within them."""

    seconds: float
    token: str = ""


Steps = Generator[Waiting, Any, State]


@dataclass
class Execution:
    """One execution; `status` is Step Functions'."""

    execution_id: str
    given: State
    steps: Steps
    status: str = "RUNNING"
    error: str = ""
    token: str = ""
    generation: int = 0


@dataclass
class Machine:
    """The shipped machine with a handler for each function that it invokes."""

    name: str
    time: MachineTime
    handlers: dict[str, Handler]
    on_failure: Callable[[Execution], None]
    random: random.Random
    executions: list[Execution] = field(default_factory=list)

    def __post_init__(self) -> None:
        text = (ROOT / "statemachine" / f"{self.name}.asl.json").read_text()
        self.states: State = json.loads(text)["States"]
        self.start_at: str = json.loads(text)["StartAt"]

    def start(self, given: State) -> Execution:
        execution_id = f"execution-{len(self.executions)}"
        execution = Execution(execution_id, given, self._run(execution_id, dict(given)))
        self.executions.append(execution)
        self._go_on(execution, lambda: next(execution.steps))
        return execution

    def answer(self, token: str, output: State) -> bool:
        """Answer a task token; False if nobody waits for it any more."""
        for execution in self.executions:
            if execution.token == token and execution.status == "RUNNING":
                execution.token = ""
                self._go_on(execution, lambda one=execution: one.steps.send(output))
                return True
        return False

    def abort(self, execution: Execution) -> None:
        if execution.status == "RUNNING":
            self._go_on(execution, lambda: execution.steps.throw(Aborted()))

    def _go_on(self, execution: Execution, step: Callable[[], Waiting]) -> None:
        execution.generation += 1
        generation = execution.generation
        try:
            waiting = step()
        except StopIteration:
            execution.status = "SUCCEEDED"
        except Aborted:
            execution.status = "ABORTED"
            self.on_failure(execution)
        except StateError as error:
            execution.status, execution.error = "FAILED", error.name
            self.on_failure(execution)
        else:
            execution.token = waiting.token
            self.time.after(waiting.seconds, lambda: self._wake(execution, generation))

    def _wake(self, execution: Execution, generation: int) -> None:
        if execution.status != "RUNNING" or execution.generation != generation:
            return
        if execution.token:
            execution.token = ""
            error = StateError("States.Timeout")
            self._go_on(execution, lambda: execution.steps.throw(error))
        else:
            self._go_on(execution, lambda: execution.steps.send(None))

    def _run(self, execution_id: str, state: State) -> Steps:
        yield Waiting(0)
        name: str | None = self.start_at
        while name is not None:
            definition = self.states[name]
            if definition["Type"] == "Choice":
                name = _chosen(definition, state)
            elif definition["Type"] == "Wait":
                yield Waiting(definition["Seconds"])
                name = definition["Next"]
            elif definition["Type"] == "Succeed":
                return state
            else:
                name = yield from self._task(definition, execution_id, state)
        return state

    def _task(
        self, definition: State, execution_id: str, state: State
    ) -> Generator[Waiting, Any, str | None]:
        attempts: dict[int, int] = {}
        while True:
            try:
                result = yield from self._attempt(definition, execution_id, state)
            except StateError as error:
                pause_s = self._pause(definition, error, attempts)
                if pause_s is not None:
                    yield Waiting(pause_s)
                    continue
                return _caught(definition, error, state)
            _put(state, definition.get("ResultPath"), result)
            return definition.get("Next")

    def _attempt(
        self, definition: State, execution_id: str, state: State
    ) -> Generator[Waiting, Any, Any]:
        resource = definition["Resource"]
        if "waitForTaskToken" in resource:
            token = f"token-{execution_id}-{next(_TOKENS)}"
            payload = _filled(definition["Parameters"]["Payload"], state, execution_id, token)
            function = definition["Parameters"]["FunctionName"]
            self._invoke(function, payload)
            return (yield Waiting(_at(state, definition["TimeoutSecondsPath"]), token))
        payload = _filled(definition.get("Parameters"), state, execution_id, "")
        return self._invoke(resource, payload)

    def _invoke(self, function: str, payload: State) -> Any:
        name = function.removeprefix("${").removesuffix("FunctionArn}")
        try:
            # through JSON and back, as it goes over the wire
            return json.loads(json.dumps(self.handlers[name](json.loads(json.dumps(payload)))))
        except (Aborted, StateError):
            raise
        except Exception as error:
            cause = json.dumps({"errorMessage": str(error)})
            raise StateError(type(error).__name__, cause) from error

    def _pause(
        self, definition: State, error: StateError, attempts: dict[int, int]
    ) -> float | None:
        for number, retry in enumerate(definition.get("Retry", ())):
            if error.name in retry["ErrorEquals"]:
                attempts[number] = attempts.get(number, 0) + 1
                if attempts[number] > retry["MaxAttempts"]:
                    return None
                backoff = retry["IntervalSeconds"] * retry["BackoffRate"] ** (attempts[number] - 1)
                return self.random.uniform(0, min(backoff, retry["MaxDelaySeconds"]))
        return None


_TOKENS = itertools.count()


def _caught(definition: State, error: StateError, state: State) -> str:
    for rule in definition.get("Catch", ()):
        if error.name in rule["ErrorEquals"] or "States.ALL" in rule["ErrorEquals"]:
            _put(state, rule["ResultPath"], {"Error": error.name, "Cause": error.cause})
            return str(rule["Next"])
    raise error


def _filled(parameters: State | None, state: State, execution_id: str, token: str) -> State:
    if parameters is None:
        return state
    context = {"$$.Execution.Id": execution_id, "$$.Task.Token": token}
    return {
        name.removesuffix(".$"): context[value] if value in context else _at(state, value)
        for name, value in parameters.items()
    }


def _at(state: State, path: str) -> Any:
    found: Any = state
    for part in path.split(".")[1:]:
        found = found[part]
    return found


def _put(state: State, path: str | None, result: Any) -> None:
    if path is not None:
        state[path.removeprefix("$.")] = result


def _is_present(state: State, path: str) -> bool:
    try:
        _at(state, path)
    except KeyError:
        return False
    return True


def _chosen(definition: State, state: State) -> str:
    for rule in definition["Choices"]:
        if _holds(rule, state):
            return str(rule["Next"])
    return str(definition["Default"])


def _holds(rule: State, state: State) -> bool:
    if "And" in rule:
        return all(_holds(part, state) for part in rule["And"])
    if "IsPresent" in rule:
        return _is_present(state, rule["Variable"]) is rule["IsPresent"]
    value = _at(state, rule["Variable"])
    if "BooleanEquals" in rule:
        return value is rule["BooleanEquals"]
    if "StringEquals" in rule:
        return bool(value == rule["StringEquals"])
    return bool(value > rule["NumericGreaterThan"])
