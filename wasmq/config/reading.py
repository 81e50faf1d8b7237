"""Reading the configuration: one TOML file, then `WASMQ_*` environment variables, then what the caller says."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from wasmq.config.kinds import Size
from wasmq.config.tenant import Tenant
from wasmq.config.whole import Config
from wasmq.errors import ConfigError, InvalidLimit
from wasmq.printing import printable
from wasmq.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T", bound=msgspec.Struct)

_PREFIX: Final = "WASMQ_"
# Variables with the prefix that are not keys of the configuration.
_OTHER_VARIABLES: Final = frozenset({"WASMQ_CA", "WASMQ_CONFIG", "WASMQ_URL", "WASMQ_TOKEN"})
_TEST_PREFIX: Final = "WASMQ_TEST_"
_MAX_LINE: Final = 2_000  # characters of what is said to be wrong


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Return the configuration from the file at `path` (if any), then `environ`, then `overrides`.

    `overrides` maps dotted keys to values ({"scheduler.workers": 2}); a value of None is ignored. Raises `ConfigError`
    naming the source and the key when the file cannot be read, a key is unknown or a value does not fit.
    """
    tree = _read(Path(path)) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    config = _convert(tree, source)
    variables = _environment(os.environ if environ is None else environ)
    for name, dotted, value in variables:
        config = _convert(_merged(tree, dotted, value), name)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            config = _convert(_merged(tree, dotted, value), "argument")
    return config


def configured(config: Config | str | os.PathLike[str] | None, overrides: Mapping[str, Any]) -> Config:
    """Return a configuration, given as it is or as a file's path, with dotted keys set; a value of None is ignored.

    Raises `ConfigError` as `load_config` does.
    """
    if not isinstance(config, Config):
        return load_config(config, overrides=overrides)
    tree = msgspec.to_builtins(config, builtin_types=(int,), enc_hook=int)
    for dotted, value in overrides.items():
        if value is not None:
            config = _convert(_merged(tree, dotted, value), "argument")
    return config


def checked_tenant(name: str, tenant: Tenant) -> Tenant:
    """Return a tenant made by a program as a file's would be. Raises `ConfigError` for an impossible value."""
    tree = msgspec.to_builtins(tenant, builtin_types=(int,), enc_hook=int)
    checked = _converted(tree, f"tenant {name!r}", Tenant)
    if checked.problem is not None:
        raise ConfigError(f"tenant {name!r}: {checked.problem}")
    return checked


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise _wrong(str(path), f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(str(path), f"not TOML: {error}") from error
    except RecursionError:
        raise _wrong(str(path), "not TOML that can be read: nested too deep") from None


def _environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (variable, dotted key, text) for each variable that sets a key: WASMQ_SCHEDULER__WORKERS=4."""
    found = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in _OTHER_VARIABLES or name.startswith(_TEST_PREFIX):
            continue
        dotted = name.removeprefix(_PREFIX).lower().replace("__", ".")
        if "." not in dotted:
            raise _wrong(name, "names no key; write WASMQ_SECTION__KEY, such as WASMQ_SCHEDULER__WORKERS")
        found.append((name, dotted, environ[name]))
    return found


def _merged(tree: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *parents, leaf = dotted.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise _wrong(dotted, f"{parent} is not a section")
        node = child
    node[leaf] = value
    return tree


_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?$", re.DOTALL)


def _convert(tree: dict[str, Any], source: str) -> Config:
    return _converted(tree, source, Config)


def _converted(tree: dict[str, Any], source: str, wanted: type[_T]) -> _T:
    try:
        return msgspec.convert(tree, wanted, strict=False, dec_hook=_dec_hook)
    except UnicodeEncodeError:
        raise _wrong(source, "a text in it is not UTF-8") from None
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        what, key = (match["what"], match["key"]) if match else (str(error), None)
        unknown = re.search(r"unknown field `([^`]*)`", what)
        if unknown:
            name = f"{key}.{unknown[1]}" if key else unknown[1]
            raise _wrong(source, f"unknown key {name!r}") from None
        raise _wrong(source, f"{key + ': ' if key else ''}{what}") from None


def _wrong(source: str, what: str) -> ConfigError:
    """Return the error for what is wrong with a source, in one line whatever it has in it."""
    return ConfigError(printable(f"{source}: {what}", _MAX_LINE))


def _dec_hook(wanted: type, value: Any) -> Any:
    if wanted is not Size:
        raise NotImplementedError(f"no conversion to {wanted}")
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a size in bytes")
    try:
        size = parse_size(value)
    except InvalidLimit as error:
        raise ValueError(str(error)) from None
    if not 0 < size < 2**63:
        raise ValueError(f"{value!r} is not between one byte and 8 EiB")
    return Size(size)
