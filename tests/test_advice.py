"""Command lines and options that messages advise are ones that the program has."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hpa_model.commands import app

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "cli.py", *sorted(ROOT.glob("hpa_data/**/*.py")), *sorted(ROOT.glob("hpa_model/**/*.py"))]
# What stands in place of a value that is known only when the message is made. It is a number, a name and a path.
VALUE = "7"
# Options of a command that do nothing without another one; the parser does not know.
NEEDED = {"verify": {"--repair": "--part"}}
# Of other programs.
FOREIGN = {"--new", "--backend-store-uri"}  # the examples of `options.respell`; MLflow


def list_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield where a text of the source stands, and the text, with `VALUE` for what is filled in."""
    is_help = path.parent.name == "commands"  # the docstring of a command is its help; no other one is shown
    passed_over: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):  # a node before what is in it
        place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Expr) and not is_help:
            passed_over.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            passed_over.update(map(id, node.values))
            parts = [str(each.value) if isinstance(each, ast.Constant) else VALUE for each in node.values]
            yield place, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
            yield place, node.value


TEXTS = [found for path in SOURCES for found in list_texts(path)]


def list_lines() -> list[tuple[str, str]]:
    """List the command lines of all texts: in backticks, or at the end of a sentence after a colon."""
    found = {}
    for place, text in TEXTS:
        for line in re.findall(r"`(hpa [^`]*)`|: (hpa [^`]*?)\.?$", text):
            found.setdefault(" ".join((line[0] or line[1]).split()), place)
    return list(found.items())


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words name, and the words after it."""
    command: Any = typer.main.get_command(app.app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("line", "place"), list_lines())
def test_an_advised_command_line_works_as_it_is_written(line: str, place: str) -> None:
    """A command alone is only named; what has more words is a line to type, in which … is what was typed before."""
    words = [word for word in shlex.split(line.partition(">")[0])[1:] if word != "--debug"]
    command, rest = find_command(words)
    if not rest:
        return
    if "…" in rest:
        arguments = [each for each in command.params if each.param_type_name == "argument" and each.required]
        options = [each for each in command.params if each.param_type_name == "option" and each.required]
        given = [word for word in rest if word != "…"]
        rest = [VALUE] * len(arguments) + given
        for option in options:
            if not set(option.opts) & set(given):
                rest += [option.opts[0], VALUE]
    with command.make_context(command.name, rest):
        pass
    for option, needed in NEEDED.get(command.name, {}).items():
        assert option not in rest or needed in rest, place


def test_lines_are_found() -> None:
    lines = [line for line, _ in list_lines()]
    assert len(lines) > 20
    assert any("--" in line for line in lines)
    assert [place for place, text in TEXTS if "`hpa" in text and text.count("`") % 2] == []


def test_an_advised_option_is_one_of_a_command() -> None:
    known = {"--debug", "--version", "--help", "--install-completion", *FOREIGN}
    for name in [(name,) for commands in app.PANELS.values() for name in commands] + [("bench", n) for n in app.BENCH]:
        command, _ = find_command(list(name))
        known |= {option for parameter in command.params for option in parameter.opts}
        known |= {"--parts", *command.former}
    advised = {
        (option, place) for place, text in TEXTS for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w*-])", text)
    }
    assert {(option, place) for option, place in advised if option not in known} == set()
