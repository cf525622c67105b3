"""The command `teleprefetch`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from teleprefetch import __version__, audit_command, explain_command, policy_command
from teleprefetch.errors import PrefetchError

app = typer.Typer(
    name="teleprefetch",
    help="The right priors, already beside the reader, before the reader is told there is work.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
)

app.add_typer(audit_command.app)
app.add_typer(policy_command.app)
app.command()(explain_command.explain)

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
) -> None:
    """Run the stack on this machine and print its addresses, until Ctrl-C.

    With studies and a viewer, also print the link that opens the assigned study beside its best
    prior.
    """
    from teleprefetch.local.up import UpOptions, run_up

    if samples and dicom is not None:
        _refuse("--samples and --dicom: one of them")
    if study is not None and dicom is None:
        _refuse("--study: needs --dicom")
    options = UpOptions(viewer=viewer, samples=samples, dicom=dicom, study_instance_uid=study)
    try:
        run_up(options, say=typer.echo)
    except PrefetchError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        typer.echo("\nending")


@app.command()
def viewer(
    folder: Annotated[Path, typer.Argument(help="Where to put it; made, or empty.")],
    archive: Annotated[
        Path | None, typer.Option(help="The package as `npm pack` wrote it, instead of asking npm.")
    ] = None,
) -> None:
    """Get the released OHIF viewer once, checked against the SHA-512 written in this program."""
    from teleprefetch.local.viewer import PACKAGE, fetch_viewer

    try:
        count = fetch_viewer(folder, archive=archive)
    except PrefetchError as error:
        _refuse(str(error))
    typer.echo(f"{PACKAGE}: {count} files in {folder}")
    typer.echo(f"\nuv run teleprefetch up --samples --viewer {folder}")


def _refuse(message: str) -> NoReturn:
    Console(stderr=True).print(f"teleprefetch: {message}", markup=False, highlight=False)
    raise typer.Exit(_MISUSE)
