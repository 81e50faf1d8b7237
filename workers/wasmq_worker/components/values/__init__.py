"""Values of components, to and from the engine's memory."""

from wasmq_worker.components.values.codecs import codec, free_all, read_all, write_all
from wasmq_worker.components.values.handles import resources
from wasmq_worker.components.values.memory import SIZE, Codec, WrongValue

__all__ = ["SIZE", "Codec", "WrongValue", "codec", "free_all", "read_all", "resources", "write_all"]
