"""The command `teleprefetch policy`: check a node's policies, and explain a decision."""

import json
import sys
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NoReturn, get_args

import typer

from teleprefetch.dicom import is_uid
from teleprefetch.domain.policy.access import (
    Action,
    Circumstances,
    Decision,
    NodeStatus,
    Principal,
    Resource,
    Role,
    StudyAccess,
)
from teleprefetch.domain.policy.readings import access_of
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import DEFAULT_FOLDER, read_policies
from teleprefetch.edge.policy.reading_list import ReadingList
from teleprefetch.errors import PrefetchError

app = typer.Typer(
    name="policy", help="Check policies, and explain decisions.", no_args_is_help=True
)
_PROBLEM, _MISUSE = 1, 2
Policies = Annotated[Path, typer.Option(help="A folder of *.cedar files; else the default.")]
Names = Annotated[list[str], typer.Option(help="ISSUER#NAME, repeatable.")]


@app.command()
def check(policies: Policies = DEFAULT_FOLDER) -> None:
    """Parse and validate policies against their schema; faults are named by file and line."""
    try:
        files = read_policies(policies)
    except PrefetchError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_PROBLEM) from None
    typer.echo(f"{len(files.names)} policies hold, version {files.version}")
    for name in files.names:
        typer.echo(f"  {name}")


@app.command()
def why(
    principal: Annotated[str, typer.Option(help="ISSUER#SUBJECT, as in the token.")],
    action: Annotated[Action, typer.Option(help="What they want to do.")],
    resource: Annotated[str, typer.Option(help="A StudyInstanceUID, or `node`.")],
    policies: Policies = DEFAULT_FOLDER,
    site: Annotated[str | None, typer.Option(help="Where the token says they read.")] = None,
    group: Annotated[list[str], typer.Option(help="A group in the token, repeatable.")] = [],  # noqa: B006
    role: Annotated[list[str], typer.Option(help="reader or operator, repeatable.")] = [],  # noqa: B006
    readings: Annotated[
        Path | None, typer.Option(help="A node's reading list; else who is named below.")
    ] = None,
    location: Annotated[str, typer.Option(help="The reading location of the node.")] = "home",
    assigned_to: Names = [],  # noqa: B006
    assigned_to_group: Names = [],  # noqa: B006
    prior_for: Names = [],  # noqa: B006
    prior_for_group: Names = [],  # noqa: B006
    network: Annotated[str, typer.Option(help="The client's address.")] = "127.0.0.1",
    break_glass: Annotated[str, typer.Option(help="The reason for an emergency.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether something is allowed and by which policies. Exit code 0: allowed; 1: not."""
    named = StudyAccess(
        study_instance_uid=resource,
        location=location,
        assigned_to=frozenset(assigned_to),
        assigned_to_groups=frozenset(assigned_to_group),
        prior_for=frozenset(prior_for),
        prior_for_groups=frozenset(prior_for_group),
    )
    try:
        engine = CedarPolicies(read_policies(policies))
        who = _principal(principal, site, group, role)
        resources = _resources(resource, named, readings)
        at = Circumstances(datetime.now(UTC), str(ip_address(network)), break_glass)
        decisions = engine.decide_all(who, action, resources, at)
    except (PrefetchError, ValueError) as error:
        _refuse(str(error))
    best = next((one for one in decisions if one.is_allowed), decisions[0])
    _tell(best, engine, as_json=as_json)
    raise typer.Exit(0 if best.is_allowed else _PROBLEM)


def _principal(name: str, site: str | None, groups: list[str], roles: list[str]) -> Principal:
    known: tuple[Role, ...] = get_args(Role)
    if not set(roles) <= set(known):
        _refuse("--role: neither reader nor operator")
    issuer, separator, subject = name.partition("#")
    if not separator or not issuer or not subject:
        _refuse("--principal: not ISSUER#SUBJECT")
    return Principal(
        issuer=issuer,
        subject=subject,
        site=site,
        groups=frozenset(groups),
        roles=frozenset(role for role in known if role in roles),
        token_id=None,
        token_sha256="",
        ends_at_s=0,
    )


def _resources(name: str, named: StudyAccess, readings: Path | None) -> tuple[Resource, ...]:
    if name == "node":
        return (NodeStatus("node"),)
    if not is_uid(name):
        _refuse("--resource: neither a UID nor `node`")
    if readings is None:
        return (named,)
    if not readings.exists():
        _refuse("--readings: not there")
    listed = ReadingList(readings)
    try:
        return access_of(name, listed.of_study(name), locations=(named.location,))
    finally:
        listed.close()


def _tell(decision: Decision, engine: CedarPolicies, *, as_json: bool) -> None:
    if as_json:
        document = {
            "allowed": decision.is_allowed,
            "policies": list(decision.policies),
            "problems": list(decision.problems),
            "policy_set": engine.version,
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    by = ", ".join(decision.policies)
    if decision.is_allowed:
        typer.echo(f"allowed by {by}")
    elif decision.problems:
        typer.echo("refused: a policy could not be evaluated")
    else:
        typer.echo(f"refused by {by}" if by else "refused: no policy permits it")
    for problem in decision.problems:
        typer.echo(f"  {problem}")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"teleprefetch: {message}", err=True)
    raise typer.Exit(_MISUSE)
