"""The command `teleprefetch viewer`: get the released viewer, and have a stack serve it."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from typer.core import TyperGroup

from teleprefetch.operate.present import answered
from teleprefetch.operate.site import STACK_VARIABLE, client
from teleprefetch.operate.viewer_site import viewer_site_of
from teleprefetch.operate.viewer_upload import put_viewer, uploads_of

Archive = Annotated[
    Path | None, typer.Option(help="The package as `npm pack` wrote it, instead of asking npm.")
]
StackName = Annotated[
    str, typer.Option("--stack", envvar=STACK_VARIABLE, help="The CloudFormation stack.")
]


class _FetchUnlessNamed(TyperGroup):
    """`viewer DIR` is `viewer fetch DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in that was left out."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["fetch", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="viewer",
    cls=_FetchUnlessNamed,
    no_args_is_help=True,
    help="Get the released OHIF viewer (`viewer DIR`), or have a stack serve it by CloudFront.",
)


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(help="Where to put it; made, or empty.")],
    archive: Archive = None,
) -> None:
    """Get the released OHIF viewer once, checked against the SHA-512 written in this program."""
    from teleprefetch.local.viewer import PACKAGE, fetch_viewer

    def act() -> int:
        count = fetch_viewer(folder, archive=archive)
        typer.echo(f"{PACKAGE}: {count} files in {folder}")
        typer.echo(f"\nuv run teleprefetch up --samples --viewer {folder}")
        return 0

    answered(act)


@app.command()
def config(stack: StackName) -> None:
    """Print the viewer's configuration (`app-config.js`), made of the stack's outputs.

    Exit code 0: printed. 1: AWS does not answer. 2: the stack serves no viewer, or its parameters
    do not agree.
    """

    def act() -> int:
        typer.echo(viewer_site_of(stack).config.script(), nl=False)
        return 0

    answered(act)


@app.command()
def deploy(stack: StackName, archive: Archive = None) -> None:
    """Put the released viewer and its configuration into the bucket that the stack serves.

    The package is checked as `viewer DIR` checks it. Attach the policy of the stack's output
    ViewerDeployPolicyArn to who runs this. Exit code 0: it is there. 1: npm or AWS does not answer.
    2: the stack serves no viewer, or its content security policy would not let this one run.
    """
    from teleprefetch.local.viewer import PACKAGE, fetch_viewer

    def act() -> int:
        site = viewer_site_of(stack)
        with tempfile.TemporaryDirectory(prefix="viewer-") as parent:
            folder = Path(parent) / "viewer"
            fetch_viewer(folder, archive=archive)
            site.check(folder)
            uploads = uploads_of(folder, site)
            with Progress(console=Console(stderr=True), transient=True) as progress:
                bar = progress.add_task(PACKAGE, total=len(uploads))
                count = put_viewer(
                    client("s3"),
                    uploads,
                    bucket=site.bucket,
                    told=lambda done, _: progress.update(bar, completed=done),
                )
        typer.echo(f"{PACKAGE}: {count} of {len(uploads)} files put; {site.address}")
        return 0

    answered(act)
