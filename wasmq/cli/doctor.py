"""`wasmq doctor`: what would keep this machine and configuration from running guests safely."""

from __future__ import annotations

from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.options import ConfigFile, Json, effective_config
from wasmq.cli.output import print_json, print_table
from wasmq.doctor import examine
from wasmq.store.urls import FILE

__all__ = ["doctor"]

_UNSOUND = 1


def doctor(
    *,
    store: Annotated[str | None, Parameter(help="The store to look at, as a URL.")] = None,
    strict: Annotated[bool, Parameter(negative=(), show_default=False, help="Exit with 1 for warnings too.")] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Examine the engine, the sandbox, the machine, files and the store; change nothing.

    The exit status is 0 when nothing failed, 1 when something did.
    """
    settings = effective_config(config, {"scheduler.store": store})
    findings = anyio.run(examine, settings, settings.scheduler.store or FILE, config)
    if json:
        print_json(msgspec.to_builtins(findings))
    else:
        rows = [(each.health, each.check, each.detail, each.advice) for each in findings]
        print_table("", ("health", "check", "what", "what to do"), rows)
    bad = ("failed", "warning") if strict else ("failed",)
    return _UNSOUND if any(each.health in bad for each in findings) else 0
