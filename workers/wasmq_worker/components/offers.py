"""Which of a component's imports this worker satisfies: by name without the version, and by type."""

from __future__ import annotations

from typing import Any

from wasmq_worker.components.linker import RESOURCES, interface_name
from wasmq_worker.wasi.preview2 import INTERFACES


def offer(interface: str, name: str, type_: list[Any]) -> bool | str | None:
    """Return True for an import that is satisfied, None where nobody offers one of that name, else the other type."""
    known = INTERFACES.get(interface_name(interface))
    if known is None:
        return None
    if type_[0] == "wit-resource":
        return True if type_[1] in RESOURCES else None
    function = known.functions.get(name)
    if function is None or type_[0] != "wit-func":
        return None
    result = "" if type_[2] is None else canonical(type_[2])
    if [canonical(param) for _, param in type_[1]] == list(function.params) and result == function.result:
        return True
    return f"func({', '.join(function.params)}){f' -> {function.result}' if function.result else ''}"


def canonical(type_: Any) -> str:
    """Return the canonical text of a described type: see `wasmq_worker.wasi.preview2.wit`."""
    if isinstance(type_, str):
        return type_
    word, inside = type_[0], type_[1]
    match word:
        case "record":
            return f"record{{{','.join([f'{name}:{canonical(each)}' for name, each in inside])}}}"
        case "variant":
            cases = [name if each is None else f"{name}({canonical(each)})" for name, each in inside]
            return f"variant{{{','.join(cases)}}}"
        case "enum" | "flags":
            return f"{word}{{{','.join(inside)}}}"
        case "result":
            ok = None if inside is None else canonical(inside)
            if type_[2] is None:
                return "result" if ok is None else f"result<{ok}>"
            return f"result<{'_' if ok is None else ok},{canonical(type_[2])}>"
        case "tuple":
            return f"tuple<{','.join([canonical(each) for each in inside])}>"
        case "list" | "option":
            return f"{word}<{canonical(inside)}>"
    return f"{word}<{inside}>"
