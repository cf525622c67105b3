"""What the documents name exists, and what exists is named: settings, metrics, commands, errors."""

import ast
import re
import shlex
from functools import cache

import pytest

from teleprefetch import token_settings
from teleprefetch.domain.rules import Selector
from teleprefetch.errors import LEAVES
from teleprefetch.token_settings import TOKEN_SETTINGS
from tests.pages.blocks import DOCS, ROOT
from tests.pages.commands import commands, options_of
from tests.pages.machines import machine_names, template
from tests.pages.reference import (
    INNER,
    SETTINGS,
    emf_metrics,
    node_emf_metrics,
    node_metrics,
    words,
)

PACKAGE = ROOT / "shared/teleprefetch"
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted(DOCS.glob("*.md"))} | {"README.md": README}
ALL = "\n".join(PAGES.values())
_WORD = re.compile(r"(?<!`)`([A-Za-z_][A-Za-z0-9_]{2,})`(?!`)")
_ENVIRONMENT = re.compile(r'"(TELEPREFETCH_\w+|[A-Z]+_CA_BUNDLE|SSL_CERT_FILE)"')
_FIXED = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "NO_COLOR"}  # libcurl's, rich's
# words of others that the pages speak of
_OTHERS = {
    "imagesetId", "nginx", "curl", "wrk", "varnish", "keyid", "linear", "ORDER", "offline_access",
    "ERROR_CODE", "ERROR_MESSAGE",
}  # fmt: skip


def test_what_is_said_of_settings_is_of_settings_that_are_there() -> None:
    told = words()

    for kind, model in SETTINGS.items():
        assert set(told[kind]) == set(model.model_fields), kind
    assert set(told["authorizer"]) == set(TOKEN_SETTINGS)
    fields = {
        f"{model.__name__}.{name}"
        for model in INNER
        for name in model.model_fields
        if not (issubclass(model, Selector) and name in Selector.model_fields)
    }
    assert set(told["selector"]) == set(Selector.model_fields)
    assert set(told["fields"]) == fields


@pytest.mark.parametrize(("section", "reader"), [("issuer", "read_issuer"), ("role", "read_role")])
def test_what_is_said_of_issuers_and_roles_is_what_is_read(section: str, reader: str) -> None:
    module = ast.parse((PACKAGE / "token_settings.py").read_text())
    assert callable(getattr(token_settings, reader))
    (function,) = (
        node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == reader
    )
    read = {
        node.args[0].value
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and getattr(node.func.value, "id", "") == "reader"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }

    assert set(words()[section]) == read


def test_every_variable_that_is_read_beside_the_settings_is_told() -> None:
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if "local" not in path.parts]
    read = {name for source in sources for name in _ENVIRONMENT.findall(source)}

    assert set(words()["environment"]) == read | _FIXED


def test_every_metric_is_told() -> None:
    assert set(words()["metrics"]) == set(emf_metrics())
    assert set(words()["node_metrics"]) == set(node_emf_metrics())
    assert [name for name, *_ in node_metrics() if f"`{name}`" not in ALL] == []
    assert len(node_metrics()) > 10


def test_every_alarm_and_dashboard_figure_is_of_a_metric_that_is_written() -> None:
    text = (ROOT / "template.yaml").read_text()
    ours = set(re.findall(r'\["Teleprefetch", "(\w+)"', text))
    for resource in template()["Resources"].values():
        given = resource.get("Properties", {})
        if (
            resource["Type"] == "AWS::CloudWatch::Alarm"
            and given.get("Namespace") == "Teleprefetch"
        ):
            ours.add(given["MetricName"])

    assert ours
    assert ours <= {*emf_metrics(), *node_emf_metrics()}


def test_every_error_and_machine_is_named() -> None:
    named = [*LEAVES, *machine_names()]

    assert [name for name in named if not re.search(rf"\b{name}\b", ALL)] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_is_shown_is_one_with_its_options(name: str) -> None:
    for line in _shown_commands(PAGES[name]):
        given = [word for word in shlex.split(line, comments=True)[1:] if word]
        if given and not given[0].startswith("-"):
            command = next((one for one in _prefixes(given) if one in commands()), None)
            assert command is not None or given[0] in _groups(), line
            if command is not None:
                used = {word.partition("=")[0] for word in given if word.startswith("--")}
                assert used <= options_of(command), line


@pytest.mark.parametrize("name", PAGES)
def test_every_word_of_the_program_that_a_page_names_is_in_the_program(name: str) -> None:
    named = set(_WORD.findall(re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)))

    unknown = {word for word in named - _OTHERS if word.casefold() not in _program_words()}
    assert unknown == set()


def test_every_option_has_a_help_and_every_command_a_line() -> None:
    silent = [
        f"{name} {one.name}"
        for name, given in commands().items()
        for one in given.params
        if not one.help
    ]

    assert silent == []
    assert all(given.help for given in commands().values())


def _shown_commands(page: str) -> list[str]:
    """What follows `teleprefetch` in the code of a page, up to where a shell would part it."""
    lines = re.findall(r"^(?:\$ )?(?:uv run )?(teleprefetch [^\n|>&]*)", _code(page), re.MULTILINE)
    inline = re.findall(r"`(?:uv run )?(teleprefetch [^`\n|>&]*)`", page)
    return [re.sub(r"[\[\]\\]", " ", line) for line in (*lines, *inline)]


def _code(page: str) -> str:
    return "\n".join(re.findall(r"```(?:console|sh|bash)\n(.*?)```", page, re.DOTALL))


def _prefixes(given: list[str]) -> list[str]:
    return [" ".join(given[:2]), given[0]]


def _groups() -> set[str]:
    return {name.split()[0] for name in commands()} | {"COMMAND"}


@cache
def _program_words() -> frozenset[str]:
    """Every word in the program, its template, machines, tests and tools, in small letters."""
    places = [
        *PACKAGE.rglob("*"), *(ROOT / "functions").rglob("*"), *(ROOT / "statemachine").rglob("*"),
        *(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").rglob("*"), ROOT / "template.yaml",
        ROOT / "pyproject.toml", ROOT / "shared/compose.yaml", ROOT / "shared/Containerfile",
    ]  # fmt: skip
    kinds = {".py", ".yaml", ".json", ".toml", ".cedar", ".cedarschema", ".html", ".js", ""}
    found = {name for name, *_ in node_metrics()} | {"Containerfile"}
    for path in places:
        is_of_docs = path.name.startswith("test_docs") or path.parent == ROOT / "tests/pages"
        if path.is_file() and path.suffix in kinds and not is_of_docs:
            found |= set(re.findall(r"\w+", path.read_text()))
    return frozenset(word.casefold() for word in found)
