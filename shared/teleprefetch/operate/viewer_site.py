"""What a stack says of the viewer that it serves: its address, its nodes, its readers' login."""

from dataclasses import dataclass
from pathlib import Path

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.edge.pages.viewer import PAGE, ViewerConfig, inline_scripts
from teleprefetch.edge.pages.viewer_login import login_origins
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.operate.site import client
from teleprefetch.settings import ViewerLogin

AFTER_LOGOUT_PATH = "/logged-out"
"""The one that the distribution knows (`ViewerPaths` in template.yaml)."""


@dataclass(frozen=True, slots=True)
class ViewerSite:
    """A viewer on AWS.

    `scripts` are the digests of inline scripts and `reaches` the origins that its content security
    policy allows beside the nodes'.
    """

    address: str
    bucket: str
    nodes_url: str
    login: ViewerLogin
    scripts: tuple[str, ...]
    reaches: tuple[str, ...]

    @property
    def config(self) -> ViewerConfig:
        """What the viewer is told."""
        return ViewerConfig(dicomweb_root=f"{self.nodes_url}/dicom-web", login=self.login)

    def check(self, folder: Path) -> None:
        """Return if the policy that the stack sends lets this viewer run.

        Raises:
            InvalidPayloadError: its page has other scripts than the stack's parameter says.
        """
        found = scripts_of(folder)
        if set(found) != set(self.scripts):
            raise InvalidPayloadError(
                "ViewerScripts: the viewer's page has other scripts; deploy the stack with"
                f' ViewerScripts="{" ".join(found)}" first'
            )


def scripts_of(folder: Path) -> tuple[str, ...]:
    """The digests of the scripts within the page of a viewer."""
    return inline_scripts((folder / PAGE).read_bytes())


def viewer_site_of(stack_name: str) -> ViewerSite:
    """The viewer of a stack, by its outputs.

    Raises:
        InvalidPayloadError: there is no such stack, it serves no viewer, or its parameters do not
            agree.
        AccessDeniedError: the caller may not see it.
    """
    with in_our_words(f"stack {stack_name}"):
        [stack] = client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", ())}
    if "ViewerBucketName" not in outputs:
        raise InvalidPayloadError(
            f"stack {stack_name}: serves no viewer; deploy it with ViewerOnAws=true"
        )
    login = ViewerLogin.parse_json(outputs["ViewerLoginSettings"], at="ViewerLogin")
    site = ViewerSite(
        address=outputs["ViewerAddress"],
        bucket=outputs["ViewerBucketName"],
        nodes_url=outputs["ViewerNodes"],
        login=login,
        scripts=tuple(outputs["ViewerMayRun"].split()),
        reaches=tuple(outputs["ViewerMayReach"].split()),
    )
    _check_login(site)
    return site


def _check_login(site: ViewerSite) -> None:
    wanted = login_origins(site.login)
    if set(wanted) != set(site.reaches):
        raise InvalidPayloadError(
            "ViewerConnects: not the origins in ViewerLogin; deploy the stack with"
            f' ViewerConnects="{" ".join(wanted)}" first'
        )
    if site.login.after_logout_path != AFTER_LOGOUT_PATH:
        raise InvalidPayloadError(
            f"ViewerLogin.after_logout_path: on AWS it is {AFTER_LOGOUT_PATH}; leave it out"
        )
