"""What a process gives up before it sees guest code, one wall a file.

Nothing here trusts the engine: whoever gets out of it finds himself in a process that can compute, speak over the one
socket that it has, and read compiled modules.
"""

from wasmq_worker.sandbox.entering import SandboxError, artifact_path, begin, enclose, leave, narrow
from wasmq_worker.sandbox.limits import compilation as limit
from wasmq_worker.sandbox.process import die_with_parent

__all__ = ["SandboxError", "artifact_path", "begin", "die_with_parent", "enclose", "leave", "limit", "narrow"]
