"""The tenants that somebody has configured, and what the others have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq import admission
from wasmq.config import Tenant
from wasmq.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 100_000
"""Tenants that can be configured at once."""
_UNKNOWN: Final = Tenant()


class Tenants:
    """Name → `Tenant`. Calling it with any name gives what holds for that one."""

    def __init__(self, configured: Mapping[str, Tenant]) -> None:
        self._configured = dict(configured)

    def __call__(self, name: str) -> Tenant:
        """Return a tenant's share and bounds, the defaults when nobody has configured it."""
        return self._configured.get(name, _UNKNOWN)

    def set(self, name: str, tenant: Tenant) -> None:
        """Configure a tenant. Raises `InvalidArguments` for its name, or `Refused` when there are too many."""
        admission.check_name("tenant", name)
        if len(self._configured) >= MOST and name not in self._configured:
            raise Refused(f"tenant {name!r}: {MOST} tenants are configured already")
        self._configured[name] = tenant

    def reload(self, before: Mapping[str, Tenant], now: Mapping[str, Tenant]) -> None:
        """Follow a configuration that has changed; who was set in the meantime stays unless it says something new."""
        for name in before.keys() - now.keys():
            self._configured.pop(name, None)
        for name, tenant in now.items():
            if before.get(name) != tenant:
                self._configured[name] = tenant

    def all(self) -> dict[str, Tenant]:
        """Return the configured ones."""
        return dict(self._configured)
