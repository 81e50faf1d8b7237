"""Who asks: bearer tokens, each of which stands for a tenant and what may be done in its name.

A token is kept as its SHA-256 only. Which tenant a request is for, and whose jobs it may see, follows from the token
that came with it; where no token is wanted, anybody may do anything, and the daemon listens on loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from wasmq.config import Role
from wasmq.errors import Forbidden, Unauthenticated, no_such_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq.config import Config
    from wasmq.store import JobRecord

__all__ = ["ANYBODY", "Caller", "Keyring"]

_SCHEME: Final = b"bearer "
_LONGEST: Final = 1_000  # bytes of a token


class Caller(NamedTuple):
    """Who asks. Without a `tenant` it is anybody, on a daemon that wants no tokens."""

    tenant: str | None
    roles: frozenset[Role]

    @property
    def sees_all(self) -> bool:
        """Whether every tenant's jobs are this caller's to see."""
        return "administer" in self.roles

    def must(self, role: Role) -> None:
        """Raise `Forbidden` unless the caller has a role; who administers has all."""
        if role not in self.roles and not self.sees_all:
            raise Forbidden(f'the token of tenant {self.tenant!r} has no role "{role}"')

    def tenant_of(self, named: str | None) -> str:
        """Return the tenant that a job is for. Raises `Forbidden` when it is not the caller's own."""
        if named is None:
            return self.tenant or "default"
        self.may_name(named)
        return named

    def may_name(self, tenant: str) -> None:
        """Raise `Forbidden` when a tenant is not the caller's own."""
        if tenant != self.tenant and not self.sees_all:
            raise Forbidden(f"the token is for tenant {self.tenant!r}, not for {tenant!r}")

    def may_see(self, record: JobRecord) -> JobRecord:
        """Return the record if it is the caller's to see. Raises `UnknownJob`, as for a job that is not there."""
        if record.job.tenant != self.tenant and not self.sees_all:
            raise no_such_job(record.job.id)
        return record


ANYBODY: Final = Caller(None, frozenset(get_args(Role)))


class Keyring:
    """The tokens of a configuration, or of the one that `current` returns when a token is looked up.

    Once `required`, tokens stay so: what listens where other machines reach it is never opened to them by a reload.
    """

    def __init__(self, config: Config, current: Callable[[], Config] | None = None) -> None:
        self.required = False
        self._current = current
        self._take(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self.required = self.required or config.tokens_required
        # Found by the first bytes of its digest, and compared whole, in a time that says nothing.
        self._keys: dict[bytes, list[tuple[bytes, Caller]]] = {}
        for name, tenant in config.tenants.items():
            caller = Caller(name, frozenset(tenant.roles))
            for token in tenant.tokens:
                digest = bytes.fromhex(token.removeprefix("sha256:"))
                self._keys.setdefault(digest[:2], []).append((digest, caller))

    def refresh(self) -> None:
        """Take over the tokens of a configuration that was reloaded since."""
        if self._current is not None and (config := self._current()) is not self._config:
            self._take(config)

    def still(self, authorization: bytes | None, caller: Caller) -> bool:
        """Return whether a header stands for the same caller, with the same roles, as it did."""
        try:
            return self.caller(authorization) == caller
        except Unauthenticated:
            return False

    def caller(self, authorization: bytes | None) -> Caller:
        """Return who asks, by the header that came. Raises `Unauthenticated`."""
        self.refresh()
        if authorization is None:
            if self.required:
                raise Unauthenticated("this daemon wants a token: Authorization: Bearer …")
            return ANYBODY
        if authorization[: len(_SCHEME)].lower() != _SCHEME or len(authorization) > _LONGEST:
            raise Unauthenticated("the Authorization header is not of the form: Bearer TOKEN")
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip()).digest()
        found = None
        for known, caller in self._keys.get(digest[:2], ()):
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise Unauthenticated("the token is not one of this daemon's")
        return found
