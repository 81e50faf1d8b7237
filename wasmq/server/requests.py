"""What travels in the requests that queue and refuel jobs, and how a body is read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import msgspec

from wasmq.errors import WasmqError
from wasmq.job import Access, Limits, OnExhausted, Reuse
from wasmq.server.json_values import VALUE_FORM, JsonValue

if TYPE_CHECKING:
    from wasmq.submission import ProgramOptions

__all__ = [
    "MAX_KEY",
    "MAX_NAME",
    "FuelRequest",
    "InvalidBody",
    "JobRequest",
    "LimitsRequest",
    "MalformedBody",
    "decode",
]

_T = TypeVar("_T")


class MalformedBody(WasmqError):
    """Raised when a request's body is not JSON."""


class InvalidBody(WasmqError):
    """Raised when a request's body is JSON, but not what is described at /schema; names the place."""


MAX_NAME: Final = 200
"""Characters in a tenant's name, as admission allows."""
MAX_KEY: Final = 255
"""Characters in an idempotency key, as admission allows."""
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]


class LimitsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the job may spend; what is left out takes the configured default."""

    fuel: Annotated[
        int | Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")] | None,
        msgspec.Meta(description="Units of wasmtime's meter, about one per executed instruction."),
    ] = None
    memory: Annotated[int | str | None, msgspec.Meta(description='Bytes, or text such as "16MiB".')] = None
    timeout: Annotated[float | None, msgspec.Meta(description="Seconds of wall time once running.")] = None
    output: Annotated[
        int | str | None, msgspec.Meta(description='Bytes kept of stdout and stderr together, or text such as "64KiB".')
    ] = None
    files: Annotated[
        int | str | None,
        msgspec.Meta(description='Bytes that the job\'s files may have together, or text such as "16MiB".'),
    ] = None
    host_calls: Annotated[int | None, msgspec.Meta(description="Calls of host functions.")] = None
    suspend: Annotated[
        float | None, msgspec.Meta(description="Seconds that it waits to be refuelled, with on_exhausted suspend.")
    ] = None

    recording: Annotated[
        int | str | None,
        msgspec.Meta(description='Bytes that its host calls may take, with record, or text such as "1MiB".'),
    ] = None

    def limits(self) -> Limits:
        """Return the same as the core's own value."""
        fuel = int(self.fuel) if isinstance(self.fuel, str) else self.fuel
        return Limits(
            fuel=fuel,
            memory=self.memory,
            timeout=self.timeout,
            output=self.output,
            files=self.files,
            host_calls=self.host_calls,
            suspend=self.suspend,
            recording=self.recording,
        )


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call to be queued, or without an export the run of a WASI command."""

    module: Annotated[str, msgspec.Meta(description="The digest that PUT /v1/modules returned.")]
    export: str | None = None
    args: Annotated[tuple[JsonValue, ...], msgspec.Meta(description=VALUE_FORM)] = ()
    link: Annotated[
        dict[str, str], msgspec.Meta(description="Digests of modules that satisfy imports, by the name imported from.")
    ] = {}
    argv: Annotated[tuple[str, ...], msgspec.Meta(description="Arguments that follow the program's name.")] = ()
    env: dict[str, str] = {}
    stdin: bytes = b""
    files: Annotated[
        dict[str, bytes], msgspec.Meta(description="Content by path, put into the job's scratch directory.")
    ] = {}
    collect: Annotated[
        tuple[str, ...],
        msgspec.Meta(description='Paths of files to bring back; one that ends in "/" is all files below it.'),
    ] = ()
    dirs: Annotated[
        dict[str, Access], msgspec.Meta(description="Directories that the guest gets under names of their own.")
    ] = {}
    name: Annotated[str, msgspec.Meta(description="The program's name, its first argument.")] = "program"
    deterministic: Annotated[bool, msgspec.Meta(description="The same clock and random numbers in each run.")] = False
    limits: LimitsRequest = LimitsRequest()
    tenant: Annotated[_Name | None, msgspec.Meta(description='The token\'s own; without tokens "default".')] = None
    priority: Annotated[int, msgspec.Meta(ge=-1_000, le=1_000, description="The highest goes first.")] = 0
    key: Annotated[_Key | None, msgspec.Meta(description="The same key and call again is the same job.")] = None
    delay: Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400, description="Seconds before it may start.")] = 0.0
    deadline: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)] | None,
        msgspec.Meta(description="Seconds from now by which it is to have ended."),
    ] = None
    grant: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description='Host functions that this job alone may import; for who administers. As "env.lookup".'
        ),
    ] = ()

    on_exhausted: Annotated[
        OnExhausted, msgspec.Meta(description="When its fuel is spent: stop ends it, suspend waits for more.")
    ] = "stop"
    reuse: Annotated[
        Reuse | None,
        msgspec.Meta(
            description="Whether the run of an identical job of the tenant may answer this one: one that is under way, "
            "or one that has ended as well. null is the tenant's choice."
        ),
    ] = None

    record: Annotated[
        bool | None,
        msgspec.Meta(description="Whether its host calls are kept, to replay it. null is the tenant's choice."),
    ] = None

    def program(self) -> ProgramOptions:
        """Return what a WASI guest is to see."""
        return {
            "argv": self.argv,
            "env": self.env,
            "stdin": self.stdin,
            "files": self.files,
            "collect": self.collect,
            "dirs": self.dirs,
            "name": self.name if self.name != "program" else "",
            "deterministic": self.deterministic,
        }


class FuelRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fuel that a job may spend besides what it may now."""

    fuel: int | Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")]


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Return what the body says. Raises `MalformedBody` when it is not JSON, `InvalidBody` when it is another thing."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise MalformedBody("the body is not JSON: not UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is not JSON that can be read: nested too deep") from None
