"""Handles of resources, which are numbers to the host."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from wasmq_worker import capi
from wasmq_worker.components.values.memory import RESOURCE, Codec, one_word
from wasmq_worker.engine import check


class Resources:
    """Numbers of resources' types, and the instance whose handles are being read and written."""

    def __init__(self) -> None:
        self.context = 0
        self._types: dict[str, int] = {}

    def type_of(self, name: str) -> int:
        """Return the number of a resource type by its name."""
        return self._types.setdefault(name, len(self._types) + 1)


resources: Final = Resources()


class Handle(Codec):
    """A handle, `owned` or borrowed, of the resource type with this name."""

    __slots__ = ("_owned", "_type")

    def __init__(self, name: str, owned: bool) -> None:
        self._type = resources.type_of(name)
        self._owned = owned

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        out = ctypes.c_void_p()
        (any_,) = one_word.unpack_from(data, at + 8)
        check(capi.resource_from_any(resources.context, any_, ctypes.addressof(out)))
        number: int = capi.resource_number(out.value)
        capi.resource_delete(out.value)
        return number

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        host = capi.resource_new(self._owned, value, self._type)
        out = ctypes.c_void_p()
        try:
            check(capi.resource_to_any(resources.context, host, ctypes.addressof(out)))
        finally:
            capi.resource_delete(host)
        one_word.pack_into(view, at + 8, out.value or 0)
        view[at] = RESOURCE
