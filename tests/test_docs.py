"""What the README and docs/ say is true: examples run, commands parse, names exist, links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import msgspec
import pytest

import wasmq
from wasmq.cli import main
from wasmq.config import Config, Tenant
from wasmq.metrics import METRIC_NAMES

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "workers" / "guests" / "README.md",
]
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
SHELL = ("", "bash", "console", "sh", "shell")
OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "(", ")"})


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the texts of a page's code blocks in these languages; "" is a block that names none."""
    return [
        textwrap.dedent(found["text"])
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
        if found["language"] in languages
    ]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path, program: str) -> list[list[str]]:
    """Return the arguments of each call of `program` in a page's shell blocks."""
    found = []
    for block in blocks(page, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            text = line.strip().removeprefix("$ ")
            if not re.search(rf"(^|[\s/]){program}\s", f"{text} "):
                continue
            lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            command: list[str] | None = None
            for word in lexer:
                if word in OPERATORS:
                    command = None
                elif command is not None:
                    command.append(word)
                elif Path(word).name == program:
                    command = []
                    found.append(command)
                elif not re.match(r"\w+=|sudo$|time$|exec$", word):
                    break  # an argument of some other program, or no command at all
    return found


def as_program(example: str) -> str:
    """Return an example as a program: one that awaits at the top is put into a coroutine."""
    try:
        compile(example, "example", "exec")
    except SyntaxError:
        body = textwrap.indent(example, "    ")
        return f"import asyncio\n\n\nasync def example():\n{body}\n\nasyncio.run(example())\n"
    return example


def test_the_first_example_runs(tmp_path: Path) -> None:
    """The README has an example in Python; it runs as it stands, started where a clone of the project is."""
    examples = blocks(README, "python")
    assert examples, "README.md has no ```python block"
    program = tmp_path / "example.py"
    program.write_text(as_program(examples[0]), encoding="utf-8")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_examples_use_names_that_exist(page: Path) -> None:
    """Every example in Python is Python, and what it takes from wasmq is there."""
    for example in blocks(page, "python"):
        for node in ast.walk(ast.parse(as_program(example))):
            match node:
                case ast.Attribute(value=ast.Name(id="wasmq"), attr=name):
                    assert name in wasmq.__all__, f"{label(page)}: wasmq.{name}"
                case ast.ImportFrom(module="wasmq"):
                    assert {alias.name for alias in node.names} <= set(wasmq.__all__), label(page)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `wasmq` command in a code block exists, and has the options that are written there."""
    monkeypatch.setenv("COLUMNS", "200")
    for words in commands(page, "wasmq"):
        command = [word for word in words[:1] if not word.startswith("-")]
        assert main([*command, "--help"]) == 0, f"{label(page)}: wasmq {shlex.join(words)}"
        known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        used = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        assert used <= known, f"{label(page)}: wasmq {shlex.join(words)}"


def test_the_readme_shows_the_command_line() -> None:
    """The README has at least one `wasmq` command."""
    assert commands(README, "wasmq")


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_what_make_is_asked_for_can_be_made(page: Path) -> None:
    """Every `make` in a code block, or in backticks, names a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    asked = [words for words in commands(page, "make") if "-C" not in words]
    asked += [text.split() for text in re.findall(r"`make ([^`]+)`", prose(page)) if "-C" not in text]
    assert {word for words in asked for word in words if "=" not in word} <= targets


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_metrics_exist(page: Path) -> None:
    """Every metric that a page names is one that is scraped; a histogram's parts count as its name."""
    named = set(re.findall(r"\bwasmq_(?!worker\b)[a-z][a-z_]*\b", page.read_text(encoding="utf-8")))
    families = {name if name in METRIC_NAMES else re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert families - METRIC_NAMES == set()


def test_every_metric_is_described() -> None:
    """docs/metrics.md names each metric."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert {name for name in METRIC_NAMES if not re.search(rf"\b{name}\b", text)} == set()


def section(path: str) -> type[msgspec.Struct] | None:
    """Return the section of the configuration at a dotted path, None when there is no such section."""
    found: typing.Any = Config
    for word in path.split("."):
        if found is Config and word == "tenants":
            found = dict[str, Tenant]
        elif found == dict[str, Tenant]:
            found = Tenant
        else:
            found = typing.get_type_hints(found).get(word) if isinstance(found, type) else None
    return found if isinstance(found, type) and issubclass(found, msgspec.Struct) else None


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_configuration_keys_exist(page: Path) -> None:
    """Every `[section] key`, `[section]` and WASMQ_SECTION__KEY that a page names is in the configuration."""
    text = prose(page)
    missing = []
    for path, key in re.findall(r"`\[([a-zA-Z_.]+)\](?: (\w+))?[^`]*`", text):
        found = section(path)
        if path != "tenants" and (found is None or (key and key not in found.__struct_fields__)):
            missing.append(f"[{path}] {key}")
    for variable in re.findall(r"\bWASMQ_([A-Z_]+__[A-Z_]+)\b", page.read_text(encoding="utf-8")):
        *path, key = variable.lower().split("__")
        found = section(".".join(path))
        if variable != "SECTION__KEY" and (found is None or key not in found.__struct_fields__):
            missing.append(f"WASMQ_{variable}")
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Return what links may put behind a # to reach a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def leads(page: Path, target: str) -> bool:
    """Say whether a relative link on a page goes to a file of the project, and to a heading that it has."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(ROOT) or not file.exists():
        return False
    return not anchor or (file.suffix == ".md" and anchor in anchors(file))


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link goes to a file of the project, and where it names a heading, to one that is there."""
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(page))
    relative = [target for target in targets if not re.match(r"[a-z][a-z+.-]*:", target)]
    assert [target for target in relative if not leads(page, target)] == []


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_files_that_are_named_exist(page: Path) -> None:
    """Every path in backticks that begins in a directory of the project is there."""
    tops = "benchmarks|config|docs|examples|requirements|tests|tools|wasmq|workers"
    named = re.findall(rf"`((?:{tops})/[\w./-]*)(?:::\w+)?`", prose(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_guarantee_has_its_test() -> None:
    """Each row of docs/guarantees.md names a file of tests, and each test that a row names is in its file."""
    rows = re.findall(r"^\| (?!\||-)[^|]+\|.+\|$", (ROOT / "docs" / "guarantees.md").read_text("utf-8"), re.MULTILINE)
    assert len([row for row in rows if re.match(r"\| \d+\.", row)]) == 10, "one for each promise"
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            functions = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / file).read_text("utf-8"), re.MULTILINE)
            assert functions, file
            assert not test or test in functions, f"{file}::{test}"
