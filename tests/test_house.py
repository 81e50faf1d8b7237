"""The walls of the house: who may import whom, what stays pure, and that what is public says what it is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT, ROOT / "workers")
WASMQ = sorted((ROOT / "wasmq").rglob("*.py"))
WORKER = sorted((ROOT / "workers" / "wasmq_worker").rglob("*.py"))
# They decide, and others do: whatever they know comes in as an argument.
PURE = [
    path
    for path in (
        ROOT / "wasmq" / "admission.py",
        ROOT / "wasmq" / "deadlines.py",
        ROOT / "wasmq" / "fairness.py",
        ROOT / "wasmq" / "history.py",
        ROOT / "wasmq" / "ledger.py",
        ROOT / "wasmq" / "pace.py",
        ROOT / "wasmq" / "pool" / "memory.py",
        ROOT / "wasmq" / "pool" / "pool.py",
        ROOT / "wasmq" / "receipts.py",
        ROOT / "wasmq" / "recording.py",
        ROOT / "wasmq" / "reuse.py",
        ROOT / "workers" / "wasmq_worker" / "shares.py",
    )
    if path.exists()
]
# What a pure room may import, and what that may import in its turn. Nothing here reads, writes, waits or tells time.
HARMLESS = frozenset(
    {
        *(
            "__future__",
            "bisect",
            "collections",
            "enum",
            "functools",
            "hashlib",
            "heapq",
            "itertools",
            "math",
            "operator",
        ),
        *("base64", "binascii", "re", "string", "struct", "typing", "msgspec"),
    }
)
CLOCKS = frozenset({"monotonic", "monotonic_ns", "now", "perf_counter", "sleep", "time", "time_ns", "utcnow", "wall"})


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(tree: ast.AST, *, types: bool = True) -> Iterator[ast.AST]:
    """Yield every node under `tree`; without `types` not those that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if types or not is_for_types_only(child):
            yield child
            yield from nodes(child, types=types)


def imports(path: Path, *, types: bool = True) -> set[str]:
    """Return the full names that a file imports: `from a import b` is a.b, as b may be a module."""
    found = set()
    for node in nodes(tree_of(path), types=types):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                assert node.level == 0, f"{label(path)}:{node.lineno}: a relative import"
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def module_file(name: str) -> Path | None:
    """Return the file of ours that an imported name means: a module, or the module that has the name."""
    for words in (name.split("."), name.split(".")[:-1]):
        for source in SOURCES:
            file = source.joinpath(*words)
            if words and file.with_suffix(".py").exists():
                return file.with_suffix(".py")
            if words and (file / "__init__.py").exists():
                return file / "__init__.py"
    return None


@pytest.mark.parametrize("path", WORKER, ids=label)
def test_the_worker_knows_nothing_of_the_trusted_side(path: Path) -> None:
    """No file of wasmq_worker imports anything from wasmq, not even for its types."""
    assert {name for name in imports(path) if within(name, "wasmq")} == set()


@pytest.mark.parametrize("path", WASMQ, ids=label)
def test_only_the_frames_cross_the_wall(path: Path) -> None:
    """Of wasmq_worker, wasmq imports the protocol and nothing else."""
    crossing = {name for name in imports(path) if within(name, "wasmq_worker")}
    assert {name for name in crossing if not within(name, "wasmq_worker.protocol")} == set()


@pytest.mark.parametrize("path", PURE, ids=label)
def test_a_pure_room_reaches_nothing_outside(path: Path) -> None:
    """A pure room, and what it imports of ours and that again, imports only modules that cannot do I/O or tell time."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imports(file, types=False):
            if within(name, "wasmq") or within(name, "wasmq_worker"):
                found = module_file(name)
                assert found is not None, f"{label(file)} imports {name}, which is not there"
                waiting.append(found)
            else:
                top = name.partition(".")[0]
                assert top in HARMLESS, f"{label(path)} gets to {name} through {label(file)}"


@pytest.mark.parametrize("path", PURE, ids=label)
def test_a_pure_room_never_waits_and_asks_no_clock(path: Path) -> None:
    """A pure room has no coroutine, opens and prints nothing, and calls no clock, not even one that it was handed."""
    found = []
    for node in nodes(tree_of(path)):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append(f"{node.lineno}: waits")
            case ast.Call(func=ast.Name(id="open" | "print" | "input" as name)):
                found.append(f"{node.lineno}: {name}")
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                found.append(f"{node.lineno}: {name}")
    assert found == []


@pytest.mark.parametrize("path", WASMQ, ids=label)
def test_every_task_belongs_to_a_group(path: Path) -> None:
    """Nothing in wasmq makes a task that nobody waits for."""
    made = [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in nodes(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("create_task", "ensure_future", "run_coroutine_threadsafe")
    ]
    assert made == []


@pytest.mark.parametrize("path", [path for path in WASMQ + WORKER if path.name == "__init__.py"], ids=label)
def test_a_package_holds_names_only(path: Path) -> None:
    """A package's own file is a docstring, imports, and `__all__`, which lists what was imported, in order."""
    docstring, *rest = tree_of(path).body
    assert isinstance(docstring, ast.Expr)
    imported: set[str] = set()
    listed: list[str] = []
    for node in rest:
        match node:
            case ast.ImportFrom():
                imported |= {alias.asname or alias.name for alias in node.names if node.module != "__future__"}
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                listed = ast.literal_eval(node.value)
            case _:
                pytest.fail(f"{label(path)}:{node.lineno}: {ast.unparse(node)}")
    assert set(listed) == imported
    assert len(set(listed)) == len(listed)


def undocumented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[str]:
    for child in node.body:
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or child.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in child.decorator_list}
        if decorators & {"overload", "override"} or any(each.endswith(".setter") for each in decorators):
            continue
        if ast.get_docstring(child) is None:
            yield f"{name}:{child.lineno}: {child.name}"
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, name)


@pytest.mark.parametrize("path", WASMQ + WORKER, ids=label)
def test_what_is_public_says_what_it_is(path: Path) -> None:
    """Every module has a docstring, and so has every class, function and method whose name is public."""
    tree = tree_of(path)
    assert ast.get_docstring(tree)
    assert list(undocumented(tree, label(path))) == []


def declared() -> tuple[set[str], set[str]]:
    """Return the packages that wasmq always needs, and those of its extras, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {
            requirement.translate(str.maketrans("<>=!~[;", " " * 7)).split()[0].lower().replace("-", "_")
            for requirement in requirements
        }

    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return names(project["dependencies"]), names(extras)


@pytest.mark.parametrize("path", WASMQ + WORKER, ids=label)
def test_what_is_imported_is_declared(path: Path) -> None:
    """No file leans on a package that is only there because another one wanted it."""
    always, extras = declared()
    known = sys.stdlib_module_names | always | extras | {"wasmq", "wasmq_worker"}
    assert {name.partition(".")[0] for name in imports(path)} - known == set()


def test_the_extras_are_not_needed_to_begin() -> None:
    """wasmq, its command line and its worker can be imported where no extra is installed."""
    _, extras = declared()
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(extras)}))\n"  # None there makes an import fail
        "import wasmq, wasmq.__main__, wasmq.cli.run, wasmq.cli.serve, wasmq_worker.turns\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_said_once() -> None:
    """`wasmq.__version__` and the package's metadata agree."""
    import wasmq

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wasmq.__version__ == project["version"]


@pytest.mark.parametrize("name", ["build", "dev", "run"])
def test_the_locks_fit_what_is_declared(name: str) -> None:
    """Each lock has what pyproject.toml asks for, in a version that it allows, by hash; if not: make lock."""
    file = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = settings["project"], settings["dependency-groups"]
    wanted = {
        "build": groups["build"],
        "dev": [
            *groups["build"],
            *(each for each in groups["dev"] if isinstance(each, str)),
            *project["optional-dependencies"]["postgres"],
        ],
        "run": [*project["dependencies"], *project["optional-dependencies"]["serve"]],
    }
    locked: dict[str, list[str]] = {}
    for package, version in re.findall(r"^([\w-]+)==([^ ]+)(?: ;.*)? \\\n    --hash=sha256:", file, re.MULTILINE):
        locked.setdefault(package, []).append(version)
    for requirement in map(Requirement, [*wanted[name], *(wanted["run"] if name == "dev" else ())]):
        versions = locked.get(requirement.name, [])
        assert versions, requirement
        assert all(version in requirement.specifier for version in versions), requirement
    assert groups["build"] == settings["build-system"]["requires"]
    # Where the packages come from is for each machine to say.
    assert re.findall(r"://|--(?!hash=)", file) == []
