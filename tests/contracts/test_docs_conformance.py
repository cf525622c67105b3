"""The conformance statement tells each route, status, header and parameter that the node has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages.blocks import DOCS, ROOT
from tests.pages.routes import SHOWN_BY, routes, told

PAGE = (DOCS / "conformance.md").read_text()
EDGE = ROOT / "shared/teleprefetch/edge"
SPEAKING = ("access", "dicomweb", "http", "pages")
_HEADER = re.compile(r"[A-Z][a-z]*(-[A-Z][a-z]+)+|Allow|Connection|Date|ETag|Location|Vary|WWW-.*")
_REFUSERS = {"refusal", "Response", "refused", "BadRequestError"}


def test_the_statement_has_the_nodes_routes_and_no_others() -> None:
    assert {route.name for route in routes()} == SHOWN_BY.keys()


def test_every_dicomweb_route_is_told_of_in_the_capabilities() -> None:
    of_dicomweb = {route for route in routes() if "dicom-web" in route.pattern.pattern}

    assert {place.route for *_, place in told()} == of_dicomweb


def test_each_status_that_a_node_answers_is_told_and_the_reverse() -> None:
    assert set(_first_cells("statuses")) == {str(status) for status in _statuses()}


def test_each_header_that_a_node_sends_is_told_and_the_reverse() -> None:
    sent = {name for tree in _trees() for name in _headers_in(tree)}

    assert set(_first_cells("response headers")) == sent


def test_each_header_that_a_node_reads_is_told_and_the_reverse() -> None:
    read = {name for tree in _trees() for name in _asked(tree, "headers")} | _named_otherwise()

    assert {name.lower() for name in _first_cells("request headers")} == read


def test_each_query_parameter_that_is_read_is_told_and_the_reverse() -> None:
    read = {name for tree in _trees() for name in _parameters(tree)}

    assert set(_first_cells("parameters")) == read


def _first_cells(name: str) -> list[str]:
    """The words in the first column of the table behind a mark."""
    lines = PAGE.split(f"<!-- {name} -->\n\n")[1].split("\n\n")[0].splitlines()[2:]
    return [word for line in lines for word in re.findall(r"[\w-]+", line.split("|")[1])]


def _trees() -> Iterator[ast.Module]:
    for folder in SPEAKING:
        for path in sorted((EDGE / folder).glob("*.py")):
            yield ast.parse(path.read_text())


def _statuses() -> set[int]:
    found = set()
    for tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) in _REFUSERS:
                given = [
                    *node.args[:1],
                    *(one.value for one in node.keywords if one.arg == "status"),
                ]
                found |= {status for value in given for status in _numbers(value)}
            if isinstance(node, ast.AnnAssign) and _is_of_statuses(node):
                assert isinstance(node.value, ast.Dict)
                found |= {number for value in node.value.values for number in _numbers(value)}
            if isinstance(node, ast.FunctionDef) and node.name in {"__init__", "json_response"}:
                defaults = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                found |= {
                    n for arg, value in defaults if arg.arg == "status" for n in _numbers(value)
                }
            if isinstance(node, ast.keyword) and node.arg == "status":
                found |= _numbers(node.value)
    return found


def _numbers(node: ast.expr | None) -> set[int]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and 200 <= node.value < 600:
        return {node.value}
    return set()


def _is_of_statuses(node: ast.AnnAssign) -> bool:
    name = getattr(node.target, "id", "")
    return name.endswith("_STATUS") and isinstance(node.value, ast.Dict)


def _headers_in(tree: ast.Module) -> set[str]:
    """Names that stand first in a pair, or before a colon in the bytes of a head."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            found |= _header(node.elts[0])
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            found |= set(re.findall(r"(?:^|\r\n)([A-Z][\w-]+): ", text))
    return {name for name in found if _HEADER.fullmatch(name)}


def _header(node: ast.expr) -> set[str]:
    is_name = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value} if is_name else set()  # type: ignore[attr-defined]


def _asked(tree: ast.Module, holder: str) -> set[str]:
    """What is got by name from something that is called `holder`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            is_holder = getattr(of, "attr", getattr(of, "id", "")) == holder
            if node.func.attr == "get" and is_holder:
                found |= _header(node.args[0])
    return found


def _named_otherwise() -> set[str]:
    """Headers that are looked up by a constant or a parameter, or in a set."""
    found = set()
    for path in (EDGE / "dicomweb/urls.py", EDGE / "access/doorway.py", EDGE / "http/heads.py"):
        text = path.read_text()
        found |= set(re.findall(r'_first\(request, "([a-z-]+)"\)', text))
        found |= set(re.findall(r'"([a-z-]+)" in headers', text))
        for names in re.findall(r"_FORWARDED: Final = frozenset\(\{(.*?)\}\)", text):
            found |= set(re.findall(r'"([a-z-]+)"', names))
    return found


def _parameters(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in {"_numbers", "_number", "asked"}:
            named = node.args[0] if _called(node) == "asked" else node.args[1:2] and node.args[1]
            found |= {name for name in _header(named) if name.isalpha()} if named else set()
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_CONTROLS":
            found |= {name for one in ast.walk(node) for name in _header(one)}
    return found


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def test_the_sources_are_where_they_are_looked_for() -> None:
    assert all((EDGE / folder).is_dir() for folder in SPEAKING)
    assert Path(EDGE / "dicomweb/routes.py").is_file()
