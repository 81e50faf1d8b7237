"""The kinds of values that keys of the configuration have, and their bounds."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec


class Size(int):
    """Bytes; in a file or variable a number or text such as "16MiB"."""


EngineName: TypeAlias = Literal["native", "interpreter"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Fuel: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]
Token: TypeAlias = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
WallName: TypeAlias = Literal[
    "code", "limits", "root", "bounds", "user", "capabilities", "landlock", "memory", "seccomp"
]
"""The walls that can be left out."""
Role: TypeAlias = Literal["submit", "observe", "administer"]
"""submit: queue and cancel; observe: look and wait; administer: both for every tenant, the tenants and the metrics."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: its keys are all known."""
