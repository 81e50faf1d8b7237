"""`wasmq config`: the configuration as it takes effect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from wasmq.cli.options import ConfigFile, Json, effective_config
from wasmq.cli.output import print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wasmq.config import Config

__all__ = ["config", "to_toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def config(
    *,
    show: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print every key with the value that takes effect.")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Check the configuration: the file, then WASMQ_* variables. With --show print it as TOML."""
    settings = effective_config(config)
    if show and json:
        print_json(_tree(settings))
    elif show:
        print_line(to_toml(settings).rstrip("\n"))
    elif json:
        print_json({"valid": True})
    else:
        print_line("the configuration is valid")
    return 0


def to_toml(settings: Config) -> str:
    """Return the configuration as TOML that `load_config` reads back as an equal value; an unset key is left out."""
    return "\n".join(_tables(_tree(settings), ()))


def _tree(settings: Config) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=int)
    return tree


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table: its own keys first, as TOML wants, then the tables inside it."""
    values = {key: value for key, value in table.items() if value is not None and not isinstance(value, dict)}
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    if path and (values or not inner):
        yield f"[{'.'.join(_key(part) for part in path)}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}"
    if values or (path and not inner):
        yield ""
    for key, value in inner.items():
        yield from _tables(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: bool | float | str | Sequence[str]) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join([_value(part) for part in value])}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _string(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(each) or _plain(each) for each in text) + '"'


def _plain(character: str) -> str:
    return f"\\u{ord(character):04X}" if ord(character) < 0x20 or ord(character) == 0x7F else character
