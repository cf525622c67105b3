"""Whoever deploys a node gives it settings that it knows, and all that it needs."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

from teleprefetch.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {name.upper(): field for name, field in NodeSettings.model_fields.items()}
CONTAINERFILE = (ROOT / "shared/Containerfile").read_text()
NOT_OURS = {"AWS_REGION"}


@pytest.fixture(scope="module")
def template() -> Any:
    return yaml_parse((ROOT / "template.yaml").read_text())


def _container(template: Any) -> Any:
    [container] = template["Resources"]["NodeTask"]["Properties"]["ContainerDefinitions"]
    return container


def _on_site() -> Any:
    return yaml.safe_load((ROOT / "shared/compose.yaml").read_text())["services"]["node"]


def test_the_task_on_aws_sets_what_the_node_knows_and_all_it_needs(template: Any) -> None:
    given = {one["Name"] for one in _container(template)["Environment"]} - NOT_OURS

    assert given <= FIELDS.keys()
    assert {name for name, field in FIELDS.items() if field.is_required()} <= given


def test_the_image_and_the_profile_on_site_set_only_what_the_node_knows() -> None:
    image = set(re.findall(r"\b([A-Z_]+)=", CONTAINERFILE.split("USER")[0].rpartition("ENV ")[2]))
    on_site = set(_on_site()["environment"])

    assert image - {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} <= FIELDS.keys()
    assert on_site <= FIELDS.keys()


def test_a_node_on_aws_runs_without_root_and_writes_nothing_but_its_volumes(template: Any) -> None:
    container = _container(template)

    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "10001:10001"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    written = {one["ContainerPath"] for one in container["MountPoints"]}
    environment = {one["Name"]: one["Value"] for one in container["Environment"]}
    assert {environment["STORE_PATH"], environment["AUDIT_PATH"]} == written


def test_a_node_on_site_is_held_as_tightly_as_one_on_aws(template: Any) -> None:
    container, node = _container(template), _on_site()
    linux = container["LinuxParameters"]
    [tmp] = linux["Tmpfs"]
    [limit] = container["Ulimits"]

    assert node["read_only"] is container["ReadonlyRootFilesystem"]
    assert node["user"] == container["User"]
    assert node["cap_drop"] == linux["Capabilities"]["Drop"]
    assert node["init"] is linux["InitProcessEnabled"]
    assert node["tmpfs"] == [f"{tmp['ContainerPath']}:size={tmp['Size']}m"]
    assert node["ulimits"] == {
        limit["Name"]: {"soft": limit["SoftLimit"], "hard": limit["HardLimit"]}
    }
    assert node["stop_grace_period"] == f"{container['StopTimeout']}s"
    assert "no-new-privileges:true" in node["security_opt"]


def test_image_site_and_aws_ask_in_the_same_way_whether_a_node_lives(template: Any) -> None:
    given = _container(template)["HealthCheck"]
    on_aws = [*given["Command"][1:], f"{given['Interval']}s", f"{given['Timeout']}s"]
    health = _on_site()["healthcheck"]
    # a string: of a list podman-compose 1.0.3 makes `sh -c python '-m' ...`, which always passes
    on_site = [*health["test"].split(), health["interval"], health["timeout"]]
    [(interval, timeout, start, command)] = re.findall(
        r"^HEALTHCHECK --interval=(\w+) --timeout=(\w+) --start-period=(\w+) CMD (\[.*\])$",
        CONTAINERFILE,
        re.MULTILINE,
    )

    assert on_site == on_aws == [*json.loads(command), interval, timeout]
    assert health["start_period"] == start == f"{given['StartPeriod']}s"
    assert health["retries"] == given["Retries"]


def test_the_image_is_built_so_that_its_health_check_is_kept_and_its_machine_is_right(
    template: Any,
) -> None:
    told = {
        name: re.findall(r"podman build (.*)", (ROOT / "shared" / name).read_text())
        for name in ("Containerfile", "compose.yaml", "docs/deploying.md")
    }
    host = template["Resources"]["NodeHostTemplate"]["Properties"]["LaunchTemplateData"]

    assert all(len(commands) == 1 for commands in told.values())
    assert all("--format docker " in command for [command] in told.values())
    assert "/arm64/" in host["ImageId"]
    assert "--platform linux/arm64 " in told["docs/deploying.md"][0]


def test_the_images_account_has_the_number_and_the_group_that_everything_names(
    template: Any,
) -> None:
    [made] = re.findall(r"useradd ((?:[^&]|\\\n)*?) node ", CONTAINERFILE)
    [used] = re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE)
    number = used.partition(":")[0]

    assert used == f"{number}:{number}" == _container(template)["User"]
    # with --system the group would get another number, below 1000
    assert f"--uid {number} --user-group " in made
    assert "--system" not in made
    for name in ("-o", "-g"):
        assert f"{name} {number} " in CONTAINERFILE
        assert f"{name} {number} " in (ROOT / "shared/docs/deploying.md").read_text()


def test_everything_that_only_a_node_on_aws_needs_is_made_only_for_one(template: Any) -> None:
    kinds = ("AWS::EC2::", "AWS::ECS::", "AWS::ElasticLoad", "AWS::GlobalAcc", "AWS::WAFv2::")
    resources = template["Resources"]
    of_node = [name for name, one in resources.items() if one["Type"].startswith(kinds)]

    with_node = {
        name
        for name, one in template["Conditions"].items()
        if {"Condition": "NodeOnAws"} in one.get("Fn::And", ())
    } | {"NodeOnAws"}

    assert of_node
    assert [name for name in of_node if resources[name].get("Condition") not in with_node] == []


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _health(port: int) -> int:
    command = [sys.executable, "-m", "teleprefetch.edge.health"]
    return subprocess.run(command, env={"PORT": str(port)}, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check_passes_only_what_lives(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    monkeypatch.setattr(_Health, "status", status)

    assert _health(server.server_port) == code


def test_the_health_check_fails_where_nothing_listens(server: HTTPServer) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()

    assert _health(port) == 1


def test_alarms_and_dashboard_watch_metrics_that_are_written(template: Any) -> None:
    code = "".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    measures = (ROOT / "shared/teleprefetch/edge/watching/measures.py").read_text()
    written = set(re.findall(r'add_metric\(\s*"(\w+)"', code))
    of_nodes = set(re.findall(r'"(\w+)": (?:Measure|_share)\(', measures))
    resources = template["Resources"]
    watched = {
        (one["Properties"]["MetricName"], one["Properties"]["Dimensions"][0]["Name"])
        for one in resources.values()
        if one.get("Properties", {}).get("Namespace") == "Teleprefetch"
    }
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    shown = set(re.findall(r'"Teleprefetch", "(\w+)", "(\w+)"', body))

    assert json.loads(re.sub(r"\$\{[^}]+\}", "x", body))["widgets"]
    assert watched
    assert watched | shown <= {
        *((name, "service") for name in written),
        *((name, "node") for name in of_nodes),
    }
    environment = {one["Name"]: one["Value"] for one in _container(template)["Environment"]}
    assert environment["METRICS_NAMESPACE"] == "Teleprefetch"
