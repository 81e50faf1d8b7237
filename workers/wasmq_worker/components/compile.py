"""Compiles a component and says what it is."""

from __future__ import annotations

import ctypes
import hashlib
from typing import Literal

from wasmq_worker import capi
from wasmq_worker.binary import DescribeError
from wasmq_worker.components.describe import TypesTooLarge, describe_types
from wasmq_worker.components.names import type_names
from wasmq_worker.components.offers import offer
from wasmq_worker.components.sections import needs
from wasmq_worker.engine import Engine, check
from wasmq_worker.protocol import Described


def compile_component(name: Literal["native", "interpreter"], wasm: bytes) -> tuple[Described, bytes]:
    """Return a component's description and its artifact. Raises `EngineError` or `DescribeError`.

    What is read before the engine has validated it is only how its memories are to be counted; types are the engine's.
    """
    try:
        wanted = needs(wasm)
    except DescribeError as error:
        # Of bytes that are no component the engine knows better what is wrong.
        _compiled(Engine(name), wasm)
        raise error from None
    engine = Engine(name, counted=wanted.counted)
    component = _compiled(engine, wasm)
    try:
        exports, imports = describe_types(engine.pointer, component, type_names(wasm))
    except TypesTooLarge as error:
        raise DescribeError(str(error)) from None
    described = Described(
        hashlib.sha256(wasm).hexdigest(),
        exports,
        imports,
        [offer(interface, item, type_) for interface, item, type_ in imports],
        wanted.counted,
        start=True,
        memory=wanted.memory,
        exported_memory=-1,
        kind="component",
        fixed=wanted.fixed,
        record=wanted.record,
    )
    vector = capi.Vector()
    check(capi.component_serialize(component, ctypes.addressof(vector)))
    return described, capi.take_bytes(vector)


def _compiled(engine: Engine, wasm: bytes) -> int:
    out = ctypes.c_void_p()
    check(capi.component_new(engine.pointer, wasm, len(wasm), ctypes.addressof(out)))
    return out.value or 0
