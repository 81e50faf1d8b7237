"""The guests as files: documented, listed, and in the case of life.wasm really made from the source beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import wasmtime

GUESTS = Path(__file__).parents[2] / "workers" / "guests"
WAT = sorted(GUESTS.glob("*.wat"))
NEIGHBOURS = sorted(GUESTS.glob("neighbours/*.wat"))
MODULES = [*WAT, GUESTS / "life.wasm"]
# What made the checked-in life.wasm; another version of any of these may give other bytes.
TOOLCHAIN = {
    "clang-14": "1:14.0.6-12",
    "lld-14": "1:14.0.6-12",
    "libclang-rt-14-dev-wasm32": "1:14.0.6-12",
    "wasi-libc": "0.0~git20220510.9886d3d-2",
}


def module(path: Path) -> wasmtime.Module:
    return wasmtime.Module.from_file(wasmtime.Engine(), str(path))


def functions(path: Path) -> set[str]:
    return {export.name for export in module(path).exports if isinstance(export.type, wasmtime.FuncType)}


def missing_tool() -> str | None:
    """Return why life.wasm cannot be rebuilt to the byte on this machine, None when it can."""
    for command in ("make", "clang", "dpkg-query"):
        if shutil.which(command) is None:
            return f"{command} is not installed"
    for package, wanted in TOOLCHAIN.items():
        query = ["dpkg-query", "--show", "--showformat=${Version}", package]
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout
        if found != wanted:
            return f"life.wasm was made with {package} {wanted}; here it is {found or 'not installed'}"
    clang = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    return None if "14.0.6" in clang else "clang is another one than Debian's clang-14"


@pytest.mark.parametrize("path", WAT, ids=lambda path: path.name)
def test_a_guest_says_what_it_is_for_and_how_to_run_it(path: Path) -> None:
    """A WAT guest begins with a comment whose `wasmq run` lines name this file and functions that it exports."""
    comment = path.read_text(encoding="utf-8").partition("(module")[0]
    assert all(line.startswith(";;") for line in comment.splitlines())
    commands = re.findall(r"wasmq run (\S+) (\S+)", comment)
    assert commands
    assert {file for file, _ in commands} == {f"workers/guests/{path.name}"}
    assert {export for _, export in commands} <= functions(path)


def test_the_table_lists_every_guest_with_its_exports() -> None:
    """The README's table has one row a guest, and in it exactly the functions that the guest exports."""
    table = {}
    for line in (GUESTS / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            _, guest, exports, *_ = line.split("|")
            table[guest.strip(" `")] = set(re.findall(r"`([^`]+)`", exports))
    assert table == {path.name: functions(path) for path in MODULES}


@pytest.mark.parametrize("path", NEIGHBOURS, ids=lambda path: path.name)
def test_a_neighbour_says_what_it_does(path: Path) -> None:
    """A neighbour begins with a comment, is named in the README, and exports `run`."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith(";; ")
    assert f"`{path.name}`" in (GUESTS / "README.md").read_text(encoding="utf-8")
    assert functions(path) == {"run"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_guest_imports_nothing(path: Path) -> None:
    """Every guest runs without anything from its host; the one from C has not pulled in WASI behind our back."""
    assert [f"{found.module}.{found.name}" for found in module(path).imports] == []


def test_the_game_of_life_grows_its_memory() -> None:
    """life.wasm asks for pages when its two boards do not fit into what it starts with."""
    store = wasmtime.Store(wasmtime.Engine())
    exports = wasmtime.Instance(store, wasmtime.Module.from_file(store.engine, str(GUESTS / "life.wasm")), []).exports(
        store
    )
    memory, life = exports["memory"], exports["life"]
    assert isinstance(memory, wasmtime.Memory)
    assert isinstance(life, wasmtime.Func)
    before = memory.data_len(store)
    assert before < 2 * 512 * 512
    life(store, 512, 512, 0, 1)
    assert memory.data_len(store) > 2 * 512 * 512


def test_life_is_made_from_its_source(tmp_path: Path) -> None:
    """The checked-in life.wasm is what the Makefile makes of life.c, byte for byte."""
    if reason := missing_tool():
        pytest.skip(reason)
    for name in ("life.c", "Makefile"):
        shutil.copy(GUESTS / name, tmp_path)
    made = subprocess.run(["make", "-C", tmp_path, "life.wasm"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "life.wasm").read_bytes() == (GUESTS / "life.wasm").read_bytes()
