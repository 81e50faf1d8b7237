"""What `wasmq doctor` looks at: each check says how something stands and what to do about it."""

from wasmq.doctor.examination import examine
from wasmq.doctor.finding import Finding, Health

__all__ = ["Finding", "Health", "examine"]
