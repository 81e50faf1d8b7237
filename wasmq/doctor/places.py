"""Files and directories: whom they belong to, and who may write them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from wasmq.doctor.finding import Finding, failed, ok, warning
from wasmq.store.urls import without_password

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWOTH
_ANYONE_WRITES = stat.S_IWGRP | stat.S_IWOTH
_ANYONE_READS = stat.S_IRGRP | stat.S_IROTH


def configuration(path: Path, url: str | None) -> Finding:
    """Judge the configuration's file: who writes it decides what runs; a password in it is for its owner only."""
    check = "permissions"
    try:
        status = path.stat()
    except OSError as error:
        return failed(check, f"{path}: {error.strerror}", "name a file that is there")
    if status.st_mode & _OTHERS_WRITE:
        return failed(check, f"{path} can be written by everybody", f"chmod o-w {path}")
    if url is not None and without_password(url) != url and status.st_mode & stat.S_IROTH:
        return warning(check, f"{path} has a password and can be read by everybody", f"chmod o-r {path}")
    return ok(check, f"{path} can be written by its owner{' and group' if status.st_mode & stat.S_IWGRP else ''} only")


def modules(directory: Path) -> list[Finding]:
    """Judge where modules are kept: whoever writes there and reads the key decides what machine code workers run."""
    check = "permissions"
    if not directory.exists():
        return [ok(check, f"{directory} is not there yet; it will be made for its owner only")]
    status = directory.stat()
    findings = []
    if status.st_uid != os.geteuid():
        findings.append(
            failed(check, f"{directory} belongs to user {status.st_uid}, not to this one", "run as that user")
        )
    if status.st_mode & _ANYONE_WRITES:
        findings.append(failed(check, f"{directory} can be written by others", f"chmod go-w {directory}"))
    key = directory / "key"
    if key.exists() and key.stat().st_mode & (_ANYONE_READS | _ANYONE_WRITES):
        findings.append(failed(check, f"{key} can be read by others", f"chmod 600 {key}, and remove *.seal beside it"))
    return findings or [ok(check, f"{directory} is its owner's alone")]


def store(path: Path) -> Finding:
    """Judge a store's file: it has every tenant's arguments and outputs."""
    check = "permissions"
    if not path.exists():
        return ok(check, f"{path} is not there yet")
    status = path.stat()
    if status.st_mode & _ANYONE_WRITES:
        return failed(check, f"{path} can be written by others", f"chmod go-w {path}")
    if status.st_mode & stat.S_IROTH:
        return warning(
            check, f"{path} can be read by everybody", f"chmod o-r {path}, and start the daemon with umask 077"
        )
    return ok(check, f"{path} is not for everybody")
