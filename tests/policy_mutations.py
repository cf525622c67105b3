"""The template with one policy changed: one action taken away, or one that nothing uses added."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.template_policies import Policies, listed, read_template

UNUSED: Final = "iam:PassRole"
"""An action that nobody's code, machine or rule does."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change; `template` gives the template with it alone."""

    name: str
    holder: str
    _change: Callable[[dict[str, Any]], None] = field(repr=False)
    is_managed: bool = False

    def __str__(self) -> str:
        return self.name

    def template(self) -> dict[str, Any]:
        changed = read_template()
        self._change(changed)
        return changed


def mutations(template: dict[str, Any]) -> Iterator[Mutation]:
    """One for each action of each statement of each policy, and one more for each policy."""
    policies = Policies(template)
    for number, (name, holder, document) in enumerate(policies.documents()):
        for index, statement in enumerate(document["Statement"]):
            for action in listed(_inside(statement)["Action"]):
                without = _on_statement(number, index, _without(action))
                yield Mutation(f"{name} of {holder} {index} without {action}", holder, without)
        yield Mutation(f"{name} of {holder} and {UNUSED}", holder, _on_statement(number, 0, _with))
    for name, _given in policies.of_type("AWS::Lambda::Permission"):
        for action in (UNUSED, "lambda:InvokeFunctionUrl"):
            yield Mutation(f"{name} with {action}", name, _permission(name, action))
    yield from _managed(policies)


def _inside(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement itself, where it is one that a condition decides on."""
    chosen: dict[str, Any] = statement["Fn::If"][1] if "Fn::If" in statement else statement
    return chosen


def _on_statement(
    number: int, index: int, change: Callable[[dict[str, Any]], None]
) -> Callable[[dict[str, Any]], None]:
    def changed(template: dict[str, Any]) -> None:
        _name, _holder, document = list(Policies(template).documents())[number]
        change(_inside(document["Statement"][index]))

    return changed


def _without(action: str) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        statement["Action"] = [one for one in listed(statement["Action"]) if one != action]

    return change


def _with(statement: dict[str, Any]) -> None:
    statement["Action"] = [*listed(statement["Action"]), UNUSED]


def _permission(name: str, action: str) -> Callable[[dict[str, Any]], None]:
    def change(template: dict[str, Any]) -> None:
        template["Resources"][name]["Properties"]["Action"] = action

    return change


def _managed(policies: Policies) -> Iterator[Mutation]:
    """The same of the policies of AWS that roles have."""

    def given_to(role: str, arns: list[Any]) -> Callable[[dict[str, Any]], None]:
        def change(template: dict[str, Any]) -> None:
            template["Resources"][role]["Properties"]["ManagedPolicyArns"] = arns

        return change

    for role, given in policies.of_type("AWS::IAM::Role"):
        arns = given.get("ManagedPolicyArns", [])
        for one in arns:
            rest = [other for other in arns if other != one]
            yield Mutation(
                f"{role} without {policies.value(one)}", role, given_to(role, rest), True
            )
        more = [*arns, "arn:aws:iam::aws:policy/AdministratorAccess"]
        yield Mutation(f"{role} and AdministratorAccess", role, given_to(role, more), True)
