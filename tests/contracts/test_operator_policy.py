"""The operators' policy allows what their commands and console ask of AWS, and nothing else.

Each command is run on a stack of moto as operators run it.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import pydicom
import pytest
import urllib3
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from teleprefetch.cli import app
from teleprefetch.local import demo_input
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.login.people import OPERATOR
from teleprefetch.local.node_process import free_port
from teleprefetch.local.stack import LOCATION, LocalStack
from tests.console.visiting import Visitor
from tests.e2e.conftest import SCALE, Site
from tests.policy_faults import faults
from tests.policy_mutations import Mutation, mutations
from tests.recorded_operator import HOLDER, ROOT, RecordedOperator
from tests.template_policies import Policies, read_template
from tests.waiting import until

# moto says so, in its server's threads, whenever somebody asks for the stack's resources
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

WHO: Final = ("--reason", "to see what it asks", "--as", "nina")
ALLOWED: Final = [one for one in Policies(read_template()).grants() if one.holder == HOLDER]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedOperator]:
    """An operator who has done everything once."""
    folder = tmp_path_factory.mktemp("operator")
    samples = demo_input.made_up(folder / "all", today=datetime.now(UTC).date(), scale=SCALE)
    with LocalStack() as stack:
        somebody = RecordedOperator(Site(stack, samples), folder)

        with somebody.noted():
            _tell_the_story(somebody)
            yield somebody


def _tell_the_story(operator: RecordedOperator) -> None:
    site, samples = operator.site, operator.site.samples
    site.import_files(samples.history, "history")
    site.import_files(samples.current, "current")
    site.assign("well", samples.study_instance_uid, seconds=40)
    site.notice("well")
    site.quiet()
    _look(operator)
    _act(operator)
    _replay_what_failed(operator)
    _reconcile_what_was_lost(operator)
    _visit_the_console(operator)
    site.quiet()


def _look(operator: RecordedOperator) -> None:
    uid = operator.site.samples.study_instance_uid
    operator.run("status")
    operator.run("find", "--study", uid)
    operator.run("find", "--accession", "A-17", codes=(0, 1))
    operator.run("why", "well")
    operator.run("doctor", codes=(0, 1))
    rules = operator.site.stack.folder / "new.toml"
    rules.write_text("floor = 0.01\n")
    documents = operator.site.stack.aws.outputs["DocumentsBucketName"]
    operator.run("what-if", f"s3://{documents}", "--rules", str(rules))


def _act(operator: RecordedOperator) -> None:
    site = operator.site
    [stranger] = site.samples.strangers
    operator.run("warm", stranger, "--location", LOCATION, "--wait", "60", *WHO)
    operator.run("purge", stranger, "--yes", *WHO)
    operator.run("drain", "node-a", "--wait", "30", *WHO)
    operator.run("drain", "node-a", "--undo", "--reason", "as the credentials say")
    path = site.stack.folder / "order.hl7"
    lines = (
        "MSH|^~\\&|RIS|SITE|TELE|SITE|20261124120000||ORM^O01|MSG1|P|2.3.1",
        "ORC|NW|order-17|||||1^once^^^^S",
        f"ZDS|{site.samples.study_instance_uid}^100^Application^DICOM",
    )
    path.write_text("\r".join(lines))
    operator.run("assign", str(path), "--location", LOCATION)
    site.notice("order-17")
    site.quiet()


@contextlib.contextmanager
def _broken(site: Site, *functions: str) -> Iterator[None]:
    def broken(_event: Any, _context: Any) -> None:
        raise ZeroDivisionError

    lambdas = site.stack.aws.lambdas
    names = [site.stack.aws.physical[function] for function in functions]
    working = [(name, lambdas.replace(name, broken)) for name in names]
    try:
        yield
    finally:
        for name, handler in working:
            lambdas.replace(name, handler)


def _failed(site: Site, machine: str) -> str:
    def named() -> str | None:
        ended = (one for one in site.executions(machine) if one["status"] == "FAILED")
        return next((str(one["name"]) for one in ended), None)

    name: str = until(named, f"the failure of {machine}", within_s=60)
    return name


def _replay_what_failed(operator: RecordedOperator) -> None:
    """moto knows no redrive, which is asked of it all the same."""
    site = operator.site
    uid = site.samples.study_instance_uid
    with _broken(site, "FindPriorsFunction"):
        operator.run("warm", uid, "--location", LOCATION, *WHO)
        prefetch = _failed(site, "Prefetch")
    with _broken(site, "ResolveImportFunction"):
        site.import_files((_a_report(site, "failing"),), "failing")
        import_name = _failed(site, "Import")
    for name in (prefetch, import_name):
        operator.run("replay", name, "--mode", "redrive", *WHO, codes=(1,))
        [replayed] = operator.told("replay", name, "--mode", "new", *WHO)["replays"]
        assert replayed["action"] == "new"
    operator.run("replay", "--since", "1h", "--dry-run")
    site.quiet()


def _reconcile_what_was_lost(operator: RecordedOperator) -> None:
    site = operator.site
    events = boto3.client("events")
    [rule] = [one["Name"] for one in events.list_rules()["Rules"] if "HealthIm" in one["Name"]]
    events.disable_rule(Name=rule)
    site.import_files((_a_report(site, "lost"),), "lost")
    events.enable_rule(Name=rule)
    with _broken(site, "ReleaseAssignmentFunction", "SweepAssignmentsFunction"):
        site.assign("unreleased", site.samples.study_instance_uid, seconds=4)
        _failed(site, "Assignment")
        operator.run("reconcile", "--dry-run")
        done = operator.told("reconcile", "--reason", "an event was lost")
    assert (done["imports_started"], done["notices_published"]) == (1, 1)


def _a_report(site: Site, patient_id: str) -> Path:
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID, report.StudyInstanceUID, report.StudyDate = patient_id, generate_uid(), ""
    path = site.stack.folder / f"{patient_id}.dcm"
    report.save_as(path)
    return path


def _visit_the_console(operator: RecordedOperator) -> None:
    site = operator.site
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    comes_back = frozenset({f"{url}/callback"})
    site.stack.register(
        Client(client_id="console", redirect_uris=comes_back, after_logout_uris=frozenset())
    )
    command = operator.command("console", "--port", str(port))
    with (site.stack.folder / "console.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--audit", str(site.stack.audit_folder)],
            env=operator.environment, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            until(lambda: _answers(url), "the console", within_s=30)
            _look_at_every_page(Visitor(url), site.samples.study_instance_uid)
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", f"{url}/logged-out", timeout=1, retries=False).status == 200
    return False


def _look_at_every_page(visitor: Visitor, study_instance_uid: str) -> None:
    assert visitor.log_in(OPERATOR).status == 200
    for path in ("/find?kind=notice", f"/studies/{study_instance_uid}", "/nodes", "/worth"):
        assert visitor.get(path).status == 200, path
    form = visitor.get("/replay")
    fields = {name: form.hidden(name) for name in ("csrf", "once")}
    given = {"what": "", "since": "1h", "mode": "auto", "status": "FAILED"}
    _ended(visitor, visitor.post("/replay", fields | given).url)
    form = visitor.get("/rules")
    fields = {name: form.hidden(name) for name in ("csrf", "once")} | {"rules": "floor = 0.01\n"}
    _ended(visitor, visitor.post("/rules", fields, is_multipart=True).url)


def _ended(visitor: Visitor, address: str) -> None:
    until(lambda: "data-live" not in visitor.get(address).text, address, within_s=60)


def test_what_operators_may_do_is_what_their_commands_and_console_do(
    operator: RecordedOperator,
) -> None:
    assert list(faults(ALLOWED, operator.used)) == []


def test_every_command_of_operators_was_run(operator: RecordedOperator) -> None:
    named = {
        one.name or (one.callback.__name__ if one.callback else "")
        for one in app.registered_commands
        if one.rich_help_panel == "Operators"
    }

    assert operator.ran == named | {"what-if"}


@pytest.mark.parametrize(
    "mutation", [one for one in mutations(read_template()) if one.holder == HOLDER], ids=str
)
def test_a_policy_with_an_action_less_or_more_is_found(
    operator: RecordedOperator, mutation: Mutation
) -> None:
    changed = Policies(mutation.template()).grants()

    assert list(faults([one for one in changed if one.holder == HOLDER], operator.used))
