"""Modules: what each is, and the library of those that one scheduler has loaded."""

from wasmq.modules.library import Library
from wasmq.modules.module import Component, Module, is_digest, no_such_module

__all__ = ["Component", "Library", "Module", "is_digest", "no_such_module"]
