"""The tenants that somebody has configured, and what the others have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from wasmq import admission
from wasmq.config import Tenant
from wasmq.errors import ConfigError, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 100_000
"""Tenants that can be configured at once."""
_UNKNOWN: Final = Tenant()


class Tenants:
    """Name → `Tenant`. Calling it with any name gives what holds for that one. `classes` give head starts in fuel."""

    def __init__(self, configured: Mapping[str, Tenant], classes: Mapping[str, float]) -> None:
        self._configured = dict(configured)
        self._classes = classes

    def __call__(self, name: str) -> Tenant:
        """Return a tenant's share and bounds, the defaults when nobody has configured it."""
        return self._configured.get(name, _UNKNOWN)

    def set(self, name: str, tenant: Tenant) -> None:
        """Configure a tenant.

        Raises `InvalidArguments` for its name, `ConfigError` for a class that there is not, or `Refused` when there are
        too many.
        """
        admission.check_name("tenant", name)
        if tenant.class_ is not None and tenant.class_ not in self._classes:
            raise ConfigError(f"tenant {name!r}: class: {tenant.class_!r} is none of scheduler.classes")
        if len(self._configured) >= MOST and name not in self._configured:
            raise Refused(f"tenant {name!r}: {MOST} tenants are configured already")
        self._configured[name] = tenant

    def ahead(self, name: str) -> float:
        """Return a tenant's head start, in fuel."""
        class_ = self(name).class_
        return 0.0 if class_ is None else self._classes.get(class_, 0.0)

    def reload(self, before: Mapping[str, Tenant], now: Mapping[str, Tenant]) -> dict[str, Tenant | None]:
        """Follow a configuration that has changed; who was set in the meantime stays unless it says something new.

        Other tokens or roles alone say nothing of a share. Returns who is another now, None who is nobody special any
        more.
        """
        changed: dict[str, Tenant | None] = {}
        for name in before.keys() | now.keys():
            old, new = before.get(name), now.get(name)
            if old != new:
                changed[name] = self._following(name, old or _UNKNOWN, new)
        for name, tenant in changed.items():
            if tenant is None:
                self._configured.pop(name, None)
            else:
                self._configured[name] = tenant
        return changed

    def _following(self, name: str, old: Tenant, new: Tenant | None) -> Tenant | None:
        """Return what a tenant is now of which a configuration says something else."""
        current, said = self._configured.get(name), new or _UNKNOWN
        if current is None or _share(old) != _share(said):
            return new
        kept = msgspec.structs.replace(current, tokens=said.tokens, roles=said.roles)
        return None if new is None and kept == _UNKNOWN else kept

    def all(self) -> dict[str, Tenant]:
        """Return the configured ones."""
        return dict(self._configured)


def _share(tenant: Tenant) -> Tenant:
    """Return what a tenant gets, without who may speak for it."""
    return msgspec.structs.replace(tenant, tokens=_UNKNOWN.tokens, roles=_UNKNOWN.roles)
