"""What changes when a running scheduler is given another configuration, and what needs a restart. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from wasmq.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wasmq.config import Config

_STORE = ("history", "history_age")
_SCHEDULER = ("deadlines", "grace", "max_queued")


class Reloaded(NamedTuple):
    """What a new configuration comes to: the one that is in force now, and two lists of dotted keys.

    `changed` took effect; `restart` differ from what was wanted, because they cannot change while jobs run.
    """

    config: Config
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def reloaded(running: Config, wanted: Config) -> Reloaded:
    """Return what becomes of a configuration that is running when another one is wanted.

    Tenants with their tokens and roles change, limits, logs and periodic jobs, the history's length and age, the grace,
    how many jobs may wait and what becomes of those that would be late. The rest is what processes, connections and
    tables were made with; prices are what
    the workers were told. Raises `ConfigError` when what can change does not go together with what cannot.
    """
    try:
        config = msgspec.structs.replace(
            running,
            tenants=wanted.tenants,
            limits=wanted.limits,
            logs=wanted.logs,
            periodic=wanted.periodic,
            store=_with(running.store, wanted.store, _STORE),
            scheduler=_with(running.scheduler, wanted.scheduler, _SCHEDULER),
        )
    except ValueError as error:
        raise ConfigError(f"{error} (with what is in force until a restart)") from None
    return Reloaded(config, differences(running, config), differences(config, wanted))


def differences(one: Config, other: Config) -> tuple[str, ...]:
    """Return the dotted keys, sorted, whose values differ between two configurations."""
    left, right = dict(_leaves(_tree(one), "")), dict(_leaves(_tree(other), ""))
    missing = object()
    return tuple(sorted(key for key in left.keys() | right.keys() if left.get(key, missing) != right.get(key, missing)))


def _with(running: Any, wanted: Any, names: tuple[str, ...]) -> Any:
    return msgspec.structs.replace(running, **{name: getattr(wanted, name) for name in names})


def _tree(config: Config) -> Mapping[str, Any]:
    tree: Mapping[str, Any] = msgspec.to_builtins(config, builtin_types=(int,), enc_hook=int)
    return tree


def _leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
