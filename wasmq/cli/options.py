"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from wasmq.cli.exits import UsageError
from wasmq.config import Config, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfigFile", "Grants", "Json", "LinkedFiles", "ModuleFile", "effective_config", "linked_files"]

ConfigFile: TypeAlias = Annotated[
    Path | None,
    Parameter(name="--config", env_var="WASMQ_CONFIG", help="The configuration, a TOML file."),
]
ModuleFile: TypeAlias = Annotated[Path, Parameter(help="A module: wasm bytes or WebAssembly text.")]
Json: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print the result as JSON.")
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


def effective_config(file: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a command: the file, then the environment, then `flags` by dotted key.

    Raises `ConfigError` naming the source and the key of what is wrong.
    """
    return load_config(file, overrides=flags)
