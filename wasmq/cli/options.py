"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from wasmq.config import Config, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfigFile", "Json", "ModuleFile", "effective_config"]

ConfigFile: TypeAlias = Annotated[
    Path | None,
    Parameter(name="--config", env_var="WASMQ_CONFIG", help="The configuration, a TOML file."),
]
ModuleFile: TypeAlias = Annotated[Path, Parameter(help="A module: wasm bytes or WebAssembly text.")]
Json: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print the result as JSON.")
]


def effective_config(file: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a command: the file, then the environment, then `flags` by dotted key.

    Raises `ConfigError` naming the source and the key of what is wrong.
    """
    return load_config(file, overrides=flags)
