"""SQL from files: one statement a file, named for what it does; the schema's versions as files with numbers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def statements(dialect: str) -> Mapping[str, str]:
    """Return the statements of one dialect by name: put.sql is `put`."""
    folder = files("wasmq.store").joinpath("sql", dialect)
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def migrations(dialect: str) -> list[str]:
    """Return the scripts that lead from an empty database to the newest schema; after the nth it is version n."""
    folder = files("wasmq.store").joinpath("sql", dialect, "migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in names]
