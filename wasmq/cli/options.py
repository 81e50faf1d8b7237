"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from wasmq.cli.exits import UsageError
from wasmq.config import Config, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Argv",
    "ConfigFile",
    "Deterministic",
    "Env",
    "Export",
    "FilesSize",
    "Fuel",
    "Grants",
    "Json",
    "LinkedFiles",
    "Memory",
    "ModuleFile",
    "Output",
    "Stdin",
    "Timeout",
    "effective_config",
    "linked_files",
    "refuse_options",
]

ConfigFile: TypeAlias = Annotated[
    Path | None,
    Parameter(name="--config", env_var="WASMQ_CONFIG", help="The configuration, a TOML file."),
]
ModuleFile: TypeAlias = Annotated[Path, Parameter(help="A module: wasm bytes or WebAssembly text.")]
Json: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print the result as JSON.")
]

Export: TypeAlias = Annotated[str | None, Parameter(help="The exported function to call.")]
Fuel: TypeAlias = Annotated[int | None, Parameter(help="Fuel it may spend.")]
Memory: TypeAlias = Annotated[str | None, Parameter(help="Memory it may have: bytes, or like 16MiB.")]
Timeout: TypeAlias = Annotated[float | None, Parameter(help="Seconds it may run.")]
Output: TypeAlias = Annotated[str | None, Parameter(help="Output that is kept: bytes, or like 64KiB.")]
FilesSize: TypeAlias = Annotated[str | None, Parameter(help="Bytes that a program's files may have together.")]
Argv: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(negative=(), show_default=False, help="An argument of a program; what follows -- is short for these."),
]
Stdin: TypeAlias = Annotated[str | None, Parameter(help="A program's standard input: a file, or - for this command's.")]
Env: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(negative=(), show_default=False, help="A variable of a program's environment: NAME=VALUE."),
]
Deterministic: TypeAlias = Annotated[
    bool, Parameter(negative=(), show_default=False, help="Give a program the same clock and chance each time.")
]
LinkedFiles: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--link",
        negative=(),
        show_default=False,
        help="NAME=FILE: what is imported from NAME comes from the module in FILE, or for submit with that digest.",
    ),
]
Grants: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--grant",
        negative=(),
        show_default=False,
        help="A host function that this job may import, such as env.lookup. As often as you like.",
    ),
]


def linked_files(words: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of `--link` by name. Raises `UsageError` for a word that is not NAME=FILE, and a name twice."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not equals or not name or not file:
            raise UsageError(f"--link {word}: wants NAME=FILE")
        if name in found:
            raise UsageError(f"--link {word}: the name {name} is linked already")
        found[name] = Path(file)
    return found


def refuse_options(words: tuple[str, ...], command: str) -> None:
    """Raise `UsageError` for an argument that was meant as an option of the command, which has none of that name."""
    for word in words:
        if word.startswith("--"):
            raise UsageError(f"unknown option {word} (see wasmq {command} --help)")


def effective_config(file: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a command: the file, then the environment, then `flags` by dotted key.

    Raises `ConfigError` naming the source and the key of what is wrong.
    """
    return load_config(file, overrides=flags)
