"""docs/operations.md explains each log line, error code and refusal; docs/durability.md names tests that exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from featurestore.errors import ErrorCode

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", OPERATIONS)
SOURCES = [
    *(ROOT / "featurestore").rglob("*.py"),
    *(ROOT / "featurestore").rglob("*.pyx"),
    *(ROOT / "clients" / "python" / "featurestore_client" / "tables").glob("*.pyx"),
]
REFUSALS = ("FailedPreconditionError", "InternalError", "ResourceExhaustedError", "UnavailableError")
OF_COMMANDS = ("cli", "ingest")
"""Their sentences are for whoever typed them."""


def text_of(node: ast.expr) -> str:
    """A text of the source, with … for what is filled in; empty for what is no text."""
    match node:
        case ast.Constant(value=str()):
            return str(node.value)
        case ast.JoinedStr():
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        case ast.BinOp():
            return text_of(node.left) + text_of(node.right)
    return ""


@cache
def calls() -> list[tuple[str, str, list[ast.expr]]]:
    """(object, name, arguments) of each call in the Python sources."""
    return list(_calls())


def _calls() -> Iterator[tuple[str, str, list[ast.expr]]]:
    for path in SOURCES:
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name), args=arguments):
                        yield owner, name, arguments
                    case ast.Call(func=ast.Name(id=name), args=arguments):
                        if path.relative_to(ROOT / "featurestore").parts[0] not in OF_COMMANDS:
                            yield "", name, arguments


def sentences() -> set[str]:
    """What the server refuses with, as its sources have it."""
    found = set()
    for owner, name, arguments in calls():
        if name in REFUSALS and arguments and text_of(arguments[0]):
            found.add(text_of(arguments[0]))
        elif owner in REFUSALS and name == "of" and text_of(arguments[0]):
            found.add(f"{text_of(arguments[0])}: got …, at most … is allowed; {text_of(arguments[-1])}")
    call = re.compile(rf"(?:{'|'.join(REFUSALS)})(\.of)?\(((?:\s*f?\"[^\"\n]*\")+)")
    for path in SOURCES:
        if path.suffix == ".pyx":
            for of, literals in call.findall(path.read_text()):
                text = "".join(re.findall(r'"([^"\n]*)"', literals))
                found.add(re.sub(r"\{[^}]*\}", "…", text) + (": got …" if of else ""))
    return found


def fits(quoted: str, text: str) -> bool:
    """Whether the quoted pieces, with … between them, stand in the text in this order."""
    position = 0
    for piece in quoted.split("…"):
        position = text.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return True


def test_each_event_that_is_logged_is_explained():
    levels = ("debug", "info", "warning", "error", "exception", "critical")
    events = {text_of(arguments[0]) for owner, name, arguments in calls() if owner == "_log" and name in levels}
    logged = re.compile(rf'_log\.(?:{"|".join(levels)})\("([^"]+)"')
    events |= {event for path in SOURCES if path.suffix == ".pyx" for event in logged.findall(path.read_text())}
    assert len(events) > 15
    missing = [event for event in events if re.sub("%[sd]", "…", event) not in QUOTED]
    assert not missing, f"docs/operations.md, 'Log lines': says nothing of {missing}"


def test_each_error_code_is_explained():
    missing = [code.value for code in ErrorCode if code.value not in QUOTED]
    assert not missing, f"docs/operations.md, 'Errors': says nothing of {missing}"


def test_each_sentence_of_a_refusal_is_explained():
    known = [quoted for quoted in QUOTED if len(quoted.replace("…", "")) >= 10]
    found = sentences()
    assert len(found) > 40
    missing = [sentence for sentence in found if not any(fits(quoted, sentence) for quoted in known)]
    assert not missing, "docs/operations.md, 'Errors': says nothing of\n" + "\n".join(missing)


def test_no_sentence_is_explained_that_there_is_not():
    found = sentences()
    section = OPERATIONS[OPERATIONS.index("### What a start") :]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    quoted = [each for row in rows for each in re.findall(r"`([^`]+)`", row)]
    gone = [each for each in quoted if not any(fits(each, sentence) for sentence in found)]
    assert not gone, f"docs/operations.md explains what the server does not say: {gone}"


def test_the_tests_that_the_table_of_faults_names_are_there():
    """Each row of docs/durability.md names what shows it."""
    page = (ROOT / "docs" / "durability.md").read_text()
    table = page[page.index("| fault | outcome | shown by |") :]
    rows = table[: table.index("\n\n")].splitlines()[2:]
    assert len(rows) >= 15
    makefile = (ROOT / "Makefile").read_text()
    names = set(re.findall(r"def (test_\w+)", "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))))
    for row in rows:
        shown_by = row.strip("| ").split(" | ")[2]
        if shown_by in ("the same", "as above"):
            continue
        shown = re.findall(r"`([^`]+)`", shown_by)
        assert shown, f"nothing shows: {row}"
        for each in shown:
            if each.startswith("make "):
                assert f"\n{each.removeprefix('make ')}:" in makefile, each
            elif each.startswith("tests/"):
                assert (ROOT / each).exists(), each
            else:
                begins = each.removesuffix("...").rstrip("_")
                exact = not each.endswith("...")
                assert any(name == begins if exact else name.startswith(begins) for name in names), each
