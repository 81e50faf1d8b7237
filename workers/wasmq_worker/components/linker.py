"""Satisfies what a component imports, with functions of this process: WASI 0.2 as `wasmq_worker.wasi.preview2` has it.

As in `wasmq_worker.imports`, `stage.guest` is whose turn it is, and whatever goes wrong on our side ends that guest and
no other: nothing is ever raised through the engine.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi, entries
from wasmq_worker.callbacks import again, stage
from wasmq_worker.components import values
from wasmq_worker.engine import check
from wasmq_worker.guest import FOR_EVER, OutOfFuel
from wasmq_worker.wasi import Exit, Sleep
from wasmq_worker.wasi.preview2 import INTERFACES, State
from wasmq_worker.wasi.signals import Violated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq_worker.components.values import Codec
    from wasmq_worker.entries import Entries
    from wasmq_worker.guest import Guest
    from wasmq_worker.protocol import ComponentFunction, ComponentResource
    from wasmq_worker.wasi.preview2 import Function

RESOURCES: Final = {name: drop for interface in INTERFACES.values() for name, drop in interface.resources.items()}


class Linker:
    """A linker that offers one component what it imports. Raises `EngineError`.

    With `held`, a guest can be held in any of the calls until what it costs is covered, which makes them dearer.
    """

    def __init__(
        self,
        engine: int,
        imports: Sequence[ComponentFunction],
        resources: Sequence[ComponentResource],
        *,
        held: bool = False,
    ) -> None:
        self._held = held
        self.pointer: int = capi.component_linker_new(engine)
        self._entered: list[tuple[Entries, int]] = []
        by_interface: dict[str, tuple[list[ComponentFunction], list[str]]] = {}
        for resource in resources:
            by_interface.setdefault(resource.interface, ([], []))[1].append(resource.name)
        for function in imports:
            by_interface.setdefault(function.interface, ([], []))[0].append(function)
        root = capi.component_linker_root(self.pointer)
        try:
            for interface, (functions, names) in by_interface.items():
                self._offer(root, interface, functions, names)
        finally:
            capi.linker_instance_delete(root)

    def close(self) -> None:
        """Free the linker; no instance made with it may be live."""
        capi.component_linker_delete(self.pointer)
        for entry, number in self._entered:
            entry.remove(number)

    def _offer(self, root: int, interface: str, functions: list[ComponentFunction], names: list[str]) -> None:
        text = interface.encode()
        out = ctypes.c_void_p()
        check(capi.linker_add_instance(root, text, len(text), ctypes.addressof(out)))
        instance = out.value or 0
        try:
            for name in names:
                self._add_resource(instance, name)
            offered = INTERFACES[interface_name(interface)].functions
            for function in functions:
                self._add_function(instance, function, offered[function.name])
        finally:
            capi.linker_instance_delete(instance)

    def _add_resource(self, instance: int, name: str) -> None:
        entry, number = self._enter(entries.component_destructor, _destructor(name))
        type_ = capi.resource_type_new(values.resources.type_of(name))
        text = name.encode()
        try:
            check(capi.linker_add_resource(instance, text, len(text), type_, entry.address, number, None))
        finally:
            capi.resource_type_delete(type_)

    def _add_function(self, instance: int, function: ComponentFunction, offered: Function) -> None:
        params = [values.codec(type_, True) for type_ in function.params]
        results = [] if function.result is None else [values.codec(function.result, True)]
        where = f"{interface_name(function.interface)}#{function.name}"
        if self._held and not offered.waits:
            entry, number = self._enter(entries.component_waiting, _holding(where, offered, params, results))
            add = capi.linker_add_async
        elif offered.waits:
            entry, number = self._enter(entries.component_waiting, _waiting(where, offered, params, results))
            add = capi.linker_add_async
        else:
            entry, number = self._enter(entries.component_direct, _direct(where, offered, params, results))
            add = capi.linker_add_function
        text = function.name.encode()
        check(add(instance, text, len(text), entry.address, number, None))

    def _enter(self, entry: Entries, function: Callable[..., Any]) -> tuple[Entries, int]:
        """Have a function called through an entry for as long as the linker is there."""
        number = entry.add(function)
        self._entered.append((entry, number))
        return entry, number


def interface_name(versioned: str) -> str:
    """Return the name under which an interface is in the table: without its version, if that is a 0.2."""
    name, at, version = versioned.partition("@")
    return name if at and (version == "0.2" or version.startswith("0.2.")) else versioned


def _state(guest: Guest) -> State:
    state = guest.state
    if state is None:
        state = guest.state = State(guest.world)
    return state


def _direct(where: str, function: Function, params: list[Codec], results: list[Codec]) -> Callable[..., int | None]:
    """Return the callback for a function that never waits."""
    call = function.call

    def enter(
        _env: int | None, context: int, _type: int, args: int, _count: int, out: int, _results: int
    ) -> int | None:
        guest = stage.guest
        try:
            values.resources.context = context
            value = call(_state(guest), *values.read_all(params, args))
            guest.pay(context)
            if results:
                values.write_all(results, (value,), out)
        except BaseException as error:
            return fail(guest, where, error)
        return None

    return enter


def _holding(where: str, function: Function, params: list[Codec], results: list[Codec]) -> Callable[..., None]:
    """Return the callback for a function that never waits, for a guest that may be held until it has paid."""
    call = function.call

    def enter(
        _env: int | None,
        context: int,
        _type: int,
        args: int,
        _count: int,
        out: int,
        _results: int,
        error_out: int,
        continuation: int,
    ) -> None:
        guest = stage.guest
        try:
            values.resources.context = context
            value = call(_state(guest), *values.read_all(params, args))
            guest.pay(context)
            if results:
                values.write_all(results, (value,), out)
        except BaseException as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(error_out).value = fail(guest, where, error)
        else:
            guest.attempt = lambda: guest.when_paid(guest.go_on)
        again(continuation)

    return enter


def _waiting(where: str, function: Function, params: list[Codec], results: list[Codec]) -> Callable[..., None]:
    """Return the callback for a function that may raise `Sleep`: then its guest is parked."""
    call = function.call

    def enter(
        _env: int | None,
        context: int,
        _type: int,
        args: int,
        _count: int,
        out: int,
        _results: int,
        error_out: int,
        continuation: int,
    ) -> None:
        guest = stage.guest

        def attempt() -> bool:
            try:
                value = call(_state(guest), *given)
                guest.pay_moved(context)
                if results:
                    values.resources.context = context
                    values.write_all(results, (value,), out)
            except Sleep as sleep:
                guest.wake = FOR_EVER if sleep.until is None else sleep.until / 1e9
                return False
            except BaseException as error:
                ctypes.c_size_t.from_address(error_out).value = fail(guest, where, error)
                return guest.go_on()
            return guest.when_paid(guest.go_on)

        try:
            values.resources.context = context
            given = values.read_all(params, args)
            # Once, however often it is attempted: what a call costs must not depend on the time.
            guest.pay_call(context)
            guest.attempt = lambda: guest.when_paid(attempt)
        except BaseException as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(error_out).value = fail(guest, where, error)
        again(continuation)

    return enter


def _destructor(name: str) -> Callable[..., int | None]:
    """Return the callback for the end of a resource's owner."""
    drop = RESOURCES[name]

    def enter(_env: int | None, context: int, number: int) -> int | None:
        guest = stage.guest
        try:
            drop(_state(guest), number)
            guest.pay(context)
        except BaseException as error:
            return fail(guest, f"dropping a {name}", error)
        return None

    return enter


def fail(guest: Guest, where: str, error: BaseException) -> int:
    """Note why a guest ends inside a call, and return the engine's error that ends it."""
    match error:
        case OutOfFuel():
            pass
        case Exit():
            guest.ended, guest.exit_code = True, error.code
        case Violated():
            guest.failure = f"{where}: {error}"
        case MemoryError():
            guest.failure = f"{where}: the machine has no memory left"
        case _:
            guest.failure = f"{where} failed in the host: {type(error).__name__}: {error}"
    pointer: int = capi.error_new(
        (guest.failure or type(error).__name__).encode("utf-8", "replace").replace(b"\0", b"")
    )
    return pointer
