"""The version of wasmq."""

__version__ = "0.1.0"
