"""The command `teleprefetch`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from teleprefetch import (
    __version__,
    audit_command,
    explain_command,
    policy_command,
    what_if_command,
    worth_command,
)
from teleprefetch.console import command as console_command
from teleprefetch.errors import PrefetchError
from teleprefetch.operate import (
    acting_commands,
    assign_command,
    commands,
    reconcile_command,
    viewer_commands,
)

app = typer.Typer(
    name="teleprefetch",
    help="The right priors, already beside the reader, before the reader is told there is work.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
)

app.add_typer(audit_command.app)
app.add_typer(policy_command.app)
app.add_typer(viewer_commands.app)
app.command()(explain_command.explain)
app.command()(worth_command.worth)
app.command(name="what-if")(what_if_command.what_if)
for_operators = app.command(rich_help_panel="Operators")
for_operators(commands.status)
for_operators(commands.find)
for_operators(commands.why)
for_operators(commands.doctor)
for_operators(acting_commands.replay)
for_operators(acting_commands.warm)
for_operators(acting_commands.purge)
for_operators(reconcile_command.reconcile)
for_operators(acting_commands.drain)
for_operators(assign_command.assign)
for_operators(console_command.console)

_PROBLEM, _MISUSE = 1, 2


def main() -> None:
    """Run the command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    dicom: Annotated[
        Path | None, typer.Option(help="Use the studies of this folder of DICOM files instead.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="StudyInstanceUID of the current study; else the newest.")
    ] = None,
    origin: Annotated[
        Literal["healthimaging", "dicomweb"], typer.Option(help="Where the studies are.")
    ] = "healthimaging",
    url: Annotated[
        str | None, typer.Option(help="With --origin dicomweb: the archive's DICOMweb address.")
    ] = None,
    deadline_s: Annotated[
        float, typer.Option(min=6, help="How long the notice may wait, in seconds.")
    ] = 45,
    scale: Annotated[
        float, typer.Option(min=0.05, max=4, help="How much of the made-up studies to make.")
    ] = 1,
    bandwidth_mbit: Annotated[
        float | None, typer.Option(min=0.1, help="Limit the data store's link, in Mbit/s.")
    ] = None,
    kill_node: Annotated[
        bool, typer.Option("--kill-node", help="Kill the node half way; start it again later.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Run the pipeline on this machine, from an import to a proven-warm study and its notice.

    Exit code 0: every planned frame is at the node and equals the archive's. 1: something
    differs or is missing. 2: an option or a file is not what it should be.
    """
    from teleprefetch.local.demo import DemoOptions, run_demo
    from teleprefetch.local.demo_view import DemoView

    if (origin == "dicomweb") != (url is not None):
        _refuse("--origin dicomweb and --url go together")
    if dicom is not None and url is not None:
        _refuse("--dicom: is for the data store; an archive holds its own studies")
    options = DemoOptions(
        dicom=dicom,
        study_instance_uid=study,
        dicomweb_url=url,
        deadline_s=deadline_s,
        scale=scale,
        bandwidth_mbit_s=bandwidth_mbit,
        kill_node=kill_node,
    )
    console = Console(stderr=as_json)
    try:
        with DemoView(console, clock=lambda: datetime.now(UTC)) as view:
            result = run_demo(options, view)
    except PrefetchError as error:
        _refuse(str(error))
    for line in result.files_left_out:
        console.print(f"left out: {line}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")
    raise typer.Exit(0 if result.is_proven else _PROBLEM)


@app.command()
def up(
    viewer: Annotated[
        Path | None,
        typer.Option(help="Serve this built viewer beside the studies; see `teleprefetch viewer`."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Import the made-up patient and assign the study.")
    ] = False,
    dicom: Annotated[
        Path | None, typer.Option(help="Import this folder's studies, and assign the newest.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="With --dicom: StudyInstanceUID of the study to assign.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The node's port; 0: any that is free.")
    ] = 0,
    oidc: Annotated[
        str | None,
        typer.Option(help="Have readers logged in by this OpenID provider, not the stack's own."),
    ] = None,
    oidc_client: Annotated[
        str | None,
        typer.Option(help="With --oidc: the viewer's client id there, public, with PKCE."),
    ] = None,
    oidc_audience: Annotated[
        str | None, typer.Option(help="With --oidc: what its access tokens are for (`aud`).")
    ] = None,
    oidc_scope: Annotated[
        str | None, typer.Option(help="With --oidc: the scopes to ask for, parted by spaces.")
    ] = None,
    oidc_reader: Annotated[
        str | None,
        typer.Option(help="With --oidc: the subject that reads; else whoever is in `readers`."),
    ] = None,
) -> None:
    """Run the stack on this machine and print its addresses, until Ctrl-C.

    With studies and a viewer, also print the link that opens the assigned study beside its best
    prior. Its reader logs in at the stack's own issuer, or at --oidc, whose client allows
    http://127.0.0.1:PORT/callback and whose access tokens say `groups` and `site` ("home").
    """
    from teleprefetch.local.login.outside import outside_provider
    from teleprefetch.local.up import UpOptions, run_up

    if samples and dicom is not None:
        _refuse("--samples and --dicom: one of them")
    if study is not None and dicom is None:
        _refuse("--study: needs --dicom")
    further = (oidc_audience, oidc_scope, oidc_reader)
    if (oidc is None) != (oidc_client is None) or (oidc is None and any(further)):
        _refuse("--oidc and --oidc-client go together, and the others need them")
    try:
        provider = None
        if oidc is not None and oidc_client is not None:
            provider = outside_provider(
                oidc,
                client_id=oidc_client,
                audience=oidc_audience,
                scope=oidc_scope,
                reader=oidc_reader,
            )
        options = UpOptions(
            viewer=viewer,
            samples=samples,
            dicom=dicom,
            study_instance_uid=study,
            provider=provider,
            port=port,
        )
        run_up(options, say=typer.echo)
    except PrefetchError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        typer.echo("\nending")


def _refuse(message: str) -> NoReturn:
    Console(stderr=True).print(f"teleprefetch: {message}", markup=False, highlight=False)
    raise typer.Exit(_MISUSE)
