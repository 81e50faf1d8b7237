"""The calls of wasmtime's C API that the worker makes, in one place, each probed when this module is imported.

The `wasmtime` package ships the library and declares these functions, but no public class wraps the asynchronous
part, and its classes cost several times what the calls do. Only the library is loaded here, never the package.

Every function is called with the interpreter lock held (`PyDLL`): a turn is a quantum long, and the process has no
other thread that would run meanwhile. Pointers are plain ints.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

TESTED = "50.0"


class EngineUnavailable(Exception):
    """Raised when the wasmtime library is missing, of an untested version, or lacks a call that is needed."""


def _locate() -> tuple[Path, str]:
    """Return the library's path and the package's version, without importing the package (80 ms)."""
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise EngineUnavailable("the wasmtime package is not installed; pip install wasmq brings it")
    package = Path(spec.origin).parent
    machine = {"AMD64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}.get(platform.machine(), platform.machine())
    path = package / f"{sys.platform}-{machine}" / "_libwasmtime.so"
    versions = [info.stem.removeprefix("wasmtime-") for info in package.parent.glob("wasmtime-*.dist-info")]
    version = max(versions, default="of an unknown version")
    if not version.startswith(TESTED + "."):
        raise EngineUnavailable(f"wasmtime {version} is installed; wasmq is tested with {TESTED}.x only")
    return path, version


_path, VERSION = _locate()
try:
    _library = ctypes.PyDLL(str(_path))
except OSError as error:
    raise EngineUnavailable(f"the wasmtime library cannot be loaded: {error}") from None


def _bind(name: str, result: Any, *arguments: Any) -> Any:
    try:
        function = getattr(_library, name)
    except AttributeError:
        raise EngineUnavailable(f"wasmtime {VERSION} has no {name}; wasmq needs wasmtime {TESTED}.x") from None
    function.restype = result
    function.argtypes = arguments
    return function


P = c_void_p

# Engines.
config_new = _bind("wasm_config_new", P)
config_target = _bind("wasmtime_config_target_set", P, P, c_char_p)
config_memory_creator = _bind("wasmtime_config_host_memory_creator_set", None, P, P)
config_pooling = _bind("wasmtime_pooling_allocation_strategy_set", None, P, P)
pooling_new = _bind("wasmtime_pooling_allocation_config_new", P)
pooling_delete = _bind("wasmtime_pooling_allocation_config_delete", None, P)
engine_new = _bind("wasm_engine_new_with_config", P, P)
engine_delete = _bind("wasm_engine_delete", None, P)
_FLAGS = (
    "consume_fuel",
    "cranelift_nan_canonicalization",
    "memory_init_cow",
    "parallel_compilation",
    "wasm_bulk_memory",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_memory64",
    "wasm_multi_memory",
    "wasm_multi_value",
    "wasm_reference_types",
    "wasm_relaxed_simd",
    "wasm_relaxed_simd_deterministic",
    "wasm_simd",
    "wasm_tail_call",
    "wasm_threads",
    "wasm_component_model",
    "wasm_component_model_async",
    "concurrency_support",
)
_SIZES = ("async_stack_size", "max_wasm_stack", "memory_reservation", "memory_guard_size")
_POOL = (
    "max_core_instance_size",
    "max_memories_per_module",
    "max_memory_size",
    "max_tables_per_module",
    "max_unused_warm_slots",
    "table_elements",
    "total_core_instances",
    "total_gc_heaps",
    "total_memories",
    "total_stacks",
    "total_tables",
)
config_flag = {name: _bind(f"wasmtime_config_{name}_set", None, P, c_bool) for name in _FLAGS}
config_size = {name: _bind(f"wasmtime_config_{name}_set", None, P, c_size_t) for name in _SIZES}
pooling_size = {name: _bind(f"wasmtime_pooling_allocation_config_{name}_set", None, P, c_size_t) for name in _POOL}

# Modules.
wat2wasm = _bind("wasmtime_wat2wasm", P, c_char_p, c_size_t, P)
module_validate = _bind("wasmtime_module_validate", P, P, c_char_p, c_size_t)
module_new = _bind("wasmtime_module_new", P, P, c_char_p, c_size_t, P)
module_serialize = _bind("wasmtime_module_serialize", P, P, P)
module_deserialize_file = _bind("wasmtime_module_deserialize_file", P, P, c_char_p, P)
module_delete = _bind("wasmtime_module_delete", None, P)
linker_new = _bind("wasmtime_linker_new", P, P)
linker_delete = _bind("wasmtime_linker_delete", None, P)
linker_instantiate_pre = _bind("wasmtime_linker_instantiate_pre", P, P, P, P)
linker_clone = _bind("wasmtime_linker_clone", P, P)
linker_shadowing = _bind("wasmtime_linker_allow_shadowing", None, P, c_bool)
linker_define_extern = _bind("wasmtime_linker_define", P, P, P, c_char_p, c_size_t, c_char_p, c_size_t, P)
linker_instantiate = _bind("wasmtime_linker_instantiate", P, P, P, P, P, P)
linker_instantiate_async = _bind("wasmtime_linker_instantiate_async", P, P, P, P, P, P, P)
instance_pre_delete = _bind("wasmtime_instance_pre_delete", None, P)

# Components.
component_new = _bind("wasmtime_component_new", P, P, c_char_p, c_size_t, P)
component_serialize = _bind("wasmtime_component_serialize", P, P, P)
component_deserialize_file = _bind("wasmtime_component_deserialize_file", P, P, c_char_p, P)
component_delete = _bind("wasmtime_component_delete", None, P)
component_type = _bind("wasmtime_component_type", P, P)
component_export_index = _bind("wasmtime_component_get_export_index", P, P, P, c_char_p, c_size_t)
export_index_delete = _bind("wasmtime_component_export_index_delete", None, P)
component_linker_new = _bind("wasmtime_component_linker_new", P, P)
component_linker_delete = _bind("wasmtime_component_linker_delete", None, P)
component_linker_root = _bind("wasmtime_component_linker_root", P, P)
component_instantiate_async = _bind("wasmtime_component_linker_instantiate_async", P, P, P, P, P, P)
linker_instance_delete = _bind("wasmtime_component_linker_instance_delete", None, P)
linker_add_instance = _bind("wasmtime_component_linker_instance_add_instance", P, P, c_char_p, c_size_t, P)
linker_add_function = _bind("wasmtime_component_linker_instance_add_func", P, P, c_char_p, c_size_t, P, P, P)
linker_add_async = _bind("wasmtime_component_linker_instance_add_func_async", P, P, c_char_p, c_size_t, P, P, P)
linker_add_resource = _bind("wasmtime_component_linker_instance_add_resource", P, P, c_char_p, c_size_t, P, P, P, P)
component_function = _bind("wasmtime_component_instance_get_func", c_bool, P, P, P, P)
component_call_async = _bind("wasmtime_component_func_call_async", P, P, P, P, c_size_t, P, c_size_t, P)

# Types of components. What `component_part` returns is freed by `component_free` of the same kind.
_COUNTED_TYPES = {"record": "field", "tuple": "types", "variant": "case", "enum": "names", "flags": "names"}
_FREED_TYPES = ("list", "option", "result", "resource", "future", "stream", "map", "func", "instance")
component_free = {
    kind: _bind(f"wasmtime_component_{kind}_type_delete", None, P) for kind in (*_COUNTED_TYPES, *_FREED_TYPES)
}
component_free["component"] = _bind("wasmtime_component_type_delete", None, P)
component_count = {
    kind: _bind(f"wasmtime_component_{kind}_type_{part}_count", c_size_t, P) for kind, part in _COUNTED_TYPES.items()
}
component_nth = {
    "record": _bind("wasmtime_component_record_type_field_nth", c_bool, P, c_size_t, P, P, P),
    "tuple": _bind("wasmtime_component_tuple_type_types_nth", c_bool, P, c_size_t, P),
    "variant": _bind("wasmtime_component_variant_type_case_nth", c_bool, P, c_size_t, P, P, P, P),
    "enum": _bind("wasmtime_component_enum_type_names_nth", c_bool, P, c_size_t, P, P),
    "flags": _bind("wasmtime_component_flags_type_names_nth", c_bool, P, c_size_t, P, P),
    "func": _bind("wasmtime_component_func_type_param_nth", c_bool, P, c_size_t, P, P, P),
    "imports": _bind("wasmtime_component_type_import_nth", c_bool, P, P, c_size_t, P, P, P),
    "exports": _bind("wasmtime_component_type_export_nth", c_bool, P, P, c_size_t, P, P, P),
    "instance": _bind("wasmtime_component_instance_type_export_nth", c_bool, P, P, c_size_t, P, P, P),
}
component_count["func"] = _bind("wasmtime_component_func_type_param_count", c_size_t, P)
component_count["imports"] = _bind("wasmtime_component_type_import_count", c_size_t, P, P)
component_count["exports"] = _bind("wasmtime_component_type_export_count", c_size_t, P, P)
component_count["instance"] = _bind("wasmtime_component_instance_type_export_count", c_size_t, P, P)
component_inner = {
    "list": _bind("wasmtime_component_list_type_element", None, P, P),
    "option": _bind("wasmtime_component_option_type_ty", None, P, P),
    "ok": _bind("wasmtime_component_result_type_ok", c_bool, P, P),
    "err": _bind("wasmtime_component_result_type_err", c_bool, P, P),
    "result": _bind("wasmtime_component_func_type_result", c_bool, P, P),
}
function_is_async = _bind("wasmtime_component_func_type_async", c_bool, P)
valtype_delete = _bind("wasmtime_component_valtype_delete", None, P)
resource_type_equal = _bind("wasmtime_component_resource_type_equal", c_bool, P, P)
resource_type_new = _bind("wasmtime_component_resource_type_new_host", P, c_uint32)
resource_type_delete = _bind("wasmtime_component_resource_type_delete", None, P)
extern_type = _bind("wasmtime_component_extern_type", None, P, P)
extern_delete = _bind("wasmtime_component_extern_delete", None, P)
item_delete = _bind("wasmtime_component_item_delete", None, P)

# Values of components.
bytes_new = _bind("wasm_byte_vec_new", None, P, c_size_t, c_char_p)
list_new = _bind("wasmtime_component_vallist_new_uninit", None, P, c_size_t)
record_new = _bind("wasmtime_component_valrecord_new_uninit", None, P, c_size_t)
tuple_new = _bind("wasmtime_component_valtuple_new_uninit", None, P, c_size_t)
flags_new = _bind("wasmtime_component_valflags_new_uninit", None, P, c_size_t)
val_new = _bind("wasmtime_component_val_new", P, P)
val_delete = _bind("wasmtime_component_val_delete", None, P)
resource_new = _bind("wasmtime_component_resource_host_new", P, c_bool, c_uint32, c_uint32)
resource_delete = _bind("wasmtime_component_resource_host_delete", None, P)
resource_number = _bind("wasmtime_component_resource_host_rep", c_uint32, P)
resource_to_any = _bind("wasmtime_component_resource_host_to_any", P, P, P, P)
resource_from_any = _bind("wasmtime_component_resource_any_to_host", P, P, P, P)
resource_any_drop = _bind("wasmtime_component_resource_any_drop", P, P, P)

# Imports.
valtype_new = _bind("wasm_valtype_new", P, c_uint8)
valtypes_new = _bind("wasm_valtype_vec_new", None, P, c_size_t, P)
functype_new = _bind("wasm_functype_new", P, P, P)
functype_delete = _bind("wasm_functype_delete", None, P)
linker_define = _bind("wasmtime_linker_define_func_unchecked", P, P, c_char_p, c_size_t, c_char_p, c_size_t, P, P, P, P)
linker_define_async = _bind(
    "wasmtime_linker_define_async_func", P, P, c_char_p, c_size_t, c_char_p, c_size_t, P, P, P, P
)
caller_context = _bind("wasmtime_caller_context", P, P)
caller_export = _bind("wasmtime_caller_export_get", c_bool, P, c_char_p, c_size_t, P)

# Instances.
store_new = _bind("wasmtime_store_new", P, P, P, P)
store_context = _bind("wasmtime_store_context", P, P)
store_limiter = _bind("wasmtime_store_limiter", None, P, c_int64, c_int64, c_int64, c_int64, c_int64)
store_delete = _bind("wasmtime_store_delete", None, P)
set_fuel = _bind("wasmtime_context_set_fuel", P, P, c_uint64)
get_fuel = _bind("wasmtime_context_get_fuel", P, P, P)
yield_every = _bind("wasmtime_context_fuel_async_yield_interval", P, P, c_uint64)
instantiate = _bind("wasmtime_instance_pre_instantiate", P, P, P, P, P)
instantiate_async = _bind("wasmtime_instance_pre_instantiate_async", P, P, P, P, P, P)
export_nth = _bind("wasmtime_instance_export_nth", c_bool, P, P, c_size_t, P, P, P)
call_async = _bind("wasmtime_func_call_async", P, P, P, P, c_size_t, P, c_size_t, P, P)
future_poll = _bind("wasmtime_call_future_poll", c_bool, P)
future_delete = _bind("wasmtime_call_future_delete", None, P)
val_unroot = _bind("wasmtime_val_unroot", None, P)
memory_data = _bind("wasmtime_memory_data", P, P, P)
memory_data_size = _bind("wasmtime_memory_data_size", c_size_t, P, P)

# Errors and traps.
error_new = _bind("wasmtime_error_new", P, c_char_p)
error_message = _bind("wasmtime_error_message", None, P, P)
error_trace = _bind("wasmtime_error_wasm_trace", None, P, P)
error_delete = _bind("wasmtime_error_delete", None, P)
trap_new = _bind("wasmtime_trap_new", P, c_char_p, c_size_t)
trap_new_code = _bind("wasmtime_trap_new_code", P, c_uint8)
trap_message = _bind("wasm_trap_message", None, P, P)
trap_code = _bind("wasmtime_trap_code", c_bool, P, P)
trap_trace = _bind("wasm_trap_trace", None, P, P)
trap_delete = _bind("wasm_trap_delete", None, P)
frame_function = _bind("wasm_frame_func_index", c_uint32, P)
frame_offset = _bind("wasm_frame_module_offset", c_size_t, P)
frame_name = _bind("wasmtime_frame_func_name", P, P)
frames_delete = _bind("wasm_frame_vec_delete", None, P)
bytes_delete = _bind("wasm_byte_vec_delete", None, P)


class Vector(ctypes.Structure):
    """`wasm_byte_vec_t` and its kin: a length and a pointer."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))
    size: int
    data: int | None


NewMemory = ctypes.CFUNCTYPE(P, P, P, c_size_t, c_size_t, c_size_t, c_size_t, P)
GetMemory = ctypes.CFUNCTYPE(P, P, P, P)
GrowMemory = ctypes.CFUNCTYPE(P, P, c_size_t)
Finalizer = ctypes.CFUNCTYPE(None, P)
ComponentFunction = ctypes.CFUNCTYPE(P, P, P, P, P, c_size_t, P, c_size_t)
"""Environment, context, function type, arguments and their number, results and their number; returns an error."""
ComponentAsyncFunction = ctypes.CFUNCTYPE(None, P, P, P, P, c_size_t, P, c_size_t, P, P)
"""The same, then where an error goes, and the continuation to be filled in."""
ComponentDestructor = ctypes.CFUNCTYPE(P, P, P, c_uint32)
"""Environment, context, number of the resource; returns an error."""


class MemoryCreator(ctypes.Structure):
    """`wasmtime_memory_creator_t`: who makes linear memories in place of the engine."""

    _fields_ = (("env", c_void_p), ("new_memory", NewMemory), ("finalizer", c_void_p))


HostFunction = ctypes.CFUNCTYPE(c_size_t, P, P, P, c_size_t)
"""`wasmtime_func_unchecked_callback_t`: environment, caller, values in and out, their number; returns a trap or 0."""
AsyncHostFunction = ctypes.CFUNCTYPE(None, P, P, P, c_size_t, P, c_size_t, P, P)
"""`wasmtime_func_async_callback_t`: environment, caller, arguments, results, where a trap goes, the continuation."""
Continuation = ctypes.CFUNCTYPE(c_bool, P)
"""Called with each poll of the guest's future until it returns that the host function is done."""


def take_bytes(vector: Vector) -> bytes:
    """Return a vector's bytes and free it."""
    data = ctypes.string_at(vector.data, vector.size) if vector.data and vector.size else b""
    bytes_delete(ctypes.addressof(vector))
    return data


def take_error(pointer: int) -> str:
    """Return an error's message as the library wrote it, often several lines, and free the error."""
    vector = Vector()
    error_message(pointer, ctypes.addressof(vector))
    error_delete(pointer)
    return take_bytes(vector).decode("utf-8", "replace")
