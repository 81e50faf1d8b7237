"""Whether this process offers what accepted jobs import: they may have been accepted by another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq import admission
from wasmq.errors import Refused

if TYPE_CHECKING:
    from wasmq.host import HostFunctions
    from wasmq.job import Call
    from wasmq.modules import Library

_KEPT: Final = 10_000
_WAY_OUT: Final = "offer every host function that waiting jobs import before the scheduler starts"


class Offers:
    """What is offered stays offered, so a combination of modules that was found complete is not looked at again."""

    def __init__(self, library: Library, functions: HostFunctions) -> None:
        self._library = library
        self._functions = functions
        self._complete: set[tuple[str, tuple[tuple[str, str], ...]]] = set()

    def obstacle(self, call: Call) -> str | None:
        """Return in one line what a call lacks whose modules are loaded, None when it lacks nothing."""
        module = self._library[call.module]
        combination = (call.module, call.links)
        if not (call.links or module.missing) or combination in self._complete:
            return None
        links = tuple([(name, self._library[digest]) for name, digest in call.links])
        try:
            # Who may import what was decided when the job was accepted.
            admission.check_imports(module, links, self._functions, "", None)
        except Refused as refusal:
            return f"{refusal}; {_WAY_OUT}"
        if len(self._complete) >= _KEPT:
            self._complete.clear()
        self._complete.add(combination)
        return None
