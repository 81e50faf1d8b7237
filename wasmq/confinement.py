"""How the processes on the untrusted side are shut in: who they become, what they may read, what is missing.

The walls themselves are put up by the processes, before they see anything of a guest's (`wasmq_worker.sandbox`), which
say then how each stands. What a process cannot do to itself, a cgroup of its own, is done here.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wasmq.errors import ConfigError
from wasmq.logs import get_logger
from wasmq_worker.protocol import Sandbox, Wall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmq.config import Config

FIRST_USER = 61_184
"""The first and last number that systemd gives to users which exist only while a service runs (UIDs-GIDs.md)."""
LAST_USER = 65_519

_CAPABILITIES = (0, 6, 7, 18)  # CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT

OPTIONAL = frozenset({"cgroup"})
"""The walls that may be missing although the sandbox is required: they are had where somebody has prepared them."""


class Identity(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


class Confinement:
    """How the workers and the compile process of one scheduler are shut in."""

    def __init__(self, config: Config) -> None:
        self._config = config.sandbox
        self._required = config.scheduler.require_sandbox
        self._others = may_be_others()
        self._user = _configured(config.sandbox.user) if self._others else None
        self._parent = os.getpid()

    @property
    def readers(self) -> int | None:
        """The group that must be able to read artifacts; None when the workers are who the scheduler is."""
        if not self._others:
            return None
        return self._user.gid if self._user is not None else LAST_USER

    def sandbox(self, number: int, artifacts: Path | None) -> Sandbox:
        """Return how the process with this number is shut in; its artifacts are in that directory."""
        identity = self._identity(number)
        return Sandbox(
            "" if artifacts is None else str(artifacts),
            identity.uid if identity is not None else None,
            identity.gid if identity is not None else None,
            self._parent,
            self._config.without,
        )

    def refusal(self, walls: Iterable[Wall]) -> str | None:
        """Return why a process behind these walls may not be used, or None when it may."""
        missing = lacking(walls)
        if not self._required or not missing:
            return None
        listed = "; ".join([f"{wall.name} ({wall.detail})" for wall in missing])
        return f"scheduler.require_sandbox: this machine does not give every wall: {listed or 'none was reported'}"

    def _identity(self, number: int) -> Identity | None:
        if not self._others:
            return None
        if self._user is not None:
            return self._user
        # One for each process, so that none can do anything to another even if it could make the calls.
        users = LAST_USER - FIRST_USER  # the last number is the group's
        return Identity(FIRST_USER + (self._parent + number) % users, LAST_USER)


def may_be_others() -> bool:
    """Return whether this process is root, and has the capabilities to make its workers others than itself.

    In a container root may lack them. Then workers stay root without capabilities, and say that a wall is down.
    """
    if os.geteuid() != 0:
        return False
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff")), 0)
    return all(held >> capability & 1 for capability in _CAPABILITIES)


def lacking(walls: Iterable[Wall]) -> list[Wall]:
    """Return the walls that should stand and do not; of no walls at all, one that says so."""
    listed = list(walls)
    if not listed:
        return [Wall("all", "down", "the process reported no walls")]
    return [wall for wall in listed if wall.state == "down" and wall.name not in OPTIONAL]


def announce(walls: Iterable[Wall]) -> None:
    """Log how the walls stand, once, as a warning when one is missing."""
    listed = list(walls)
    up = [wall.name for wall in listed if wall.state == "up"]
    rest = {wall.name: wall.detail for wall in listed if wall.state != "up"}
    log = get_logger()
    (log.warning if lacking(listed) else log.info)("worker.sandbox", up=up, without=rest)


def _configured(user: str | None) -> Identity | None:
    """Return a configured user. Raises `ConfigError` when there is no such one, or when it is root."""
    if user is None:
        return None
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise ConfigError(f"sandbox.user: there is no user {user!r} on this machine") from None
        identity = Identity(int(user), int(user))
    else:
        identity = Identity(entry.pw_uid, entry.pw_gid)
    if not identity.uid or not identity.gid:
        raise ConfigError(f"sandbox.user: {user!r} is root, or in root's group; leave it out or name another user")
    return identity
