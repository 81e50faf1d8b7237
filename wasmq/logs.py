"""What wasmq says about itself: events with stable dotted names, such as `job.finished`, and the fields they come with.

A daemon or a command calls `configure` and owns stderr. Without it wasmq is a guest in somebody's program: it hands
its warnings and errors to the standard library's logger "wasmq", where the program decides what becomes of them, and
writes them to stderr as one line each only when the program has set up no logging at all. Neither way touches
structlog's own configuration.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeAlias

import msgspec

from wasmq.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, Processor

__all__ = ["Format", "Level", "Logger", "configure", "get_logger"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["auto", "json", "console"]

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_NAMES: Final = {number: name for name, number in _LEVELS.items()}
_PATIENCE: Final = 0.05  # seconds that a line waits for a reader that has stopped reading
_CHUNK: Final = 4096  # bytes; a pipe that polls as writable takes this many without blocking

# The standard library's logger holds the level in every mode, so that a program which embeds wasmq turns it up or down
# the usual way, and so that a disabled level costs one dictionary look-up.
_logger = logging.getLogger("wasmq")
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.WARNING)
_enabled = _logger.isEnabledFor


class Logger:
    """Writes events together with the context that it is bound to.

    No method raises or waits long for whoever reads the log, whatever is logged and wherever it goes: a line that
    cannot be written is dropped.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._context = dict(context)

    def bind(self, **context: Any) -> Logger:
        """Return a logger with more context than this one."""
        return Logger(self._context | context)

    def enabled(self, level: Level) -> bool:
        """Return whether an event of this level is written, for callers whose fields cost something to put together."""
        return _enabled(_LEVELS[level])

    def debug(self, event: str, /, **fields: Any) -> None:
        """Log what only a developer of wasmq wants to know."""
        if _enabled(logging.DEBUG):
            _emit(logging.DEBUG, event, self._context | fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Log what happens in the normal course of work."""
        if _enabled(logging.INFO):
            _emit(logging.INFO, event, self._context | fields)

    def warning(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        """Log what went wrong and was dealt with."""
        if _enabled(logging.WARNING):
            _emit(logging.WARNING, event, self._context | fields, exc_info)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        """Log what went wrong and needs somebody's attention."""
        if _enabled(logging.ERROR):
            _emit(logging.ERROR, event, self._context | fields, exc_info)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Log an error together with the exception that is being handled."""
        if _enabled(logging.ERROR):
            _emit(logging.ERROR, event, self._context | fields, sys.exception())


def get_logger(**context: Any) -> Logger:
    """Return a logger bound to `context`; it follows a later `configure`."""
    return Logger(context)


def configure(level: str = "info", format: Format = "auto", stream: TextIO | None = None) -> None:  # noqa: A002 - the configuration's own word
    """Take over logging in this process, for a program whose stderr is wasmq's own: the daemon and the commands.

    `level` is the lowest that is written. `format` is "json" (one object a line), "console" (for people) or "auto",
    which is console when `stream` is a terminal. `stream` is stderr unless told otherwise. What other libraries log
    through the standard library comes out the same way; uvicorn needs `log_config=None` for that. Calling it again
    replaces what the last call did. Raises `ConfigError` for a level or format that does not exist.
    """
    global _output
    if level not in _LEVELS:
        raise ConfigError(f"logs.level: {level!r} is not a level; use debug, info, warning or error")
    if format not in ("auto", "json", "console"):
        raise ConfigError(f"logs.format: {format!r} is not a format; use auto, json or console")
    terminal = _is_terminal(sys.stderr if stream is None else stream)
    console = format == "console" or (format == "auto" and terminal)
    _output = _Output(_Lines(stream), console=console, colors=terminal and not os.environ.get("NO_COLOR"))
    _logger.setLevel(_LEVELS[level])
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Foreign):
            root.removeHandler(handler)
    root.addHandler(_Foreign(_output))
    root.setLevel(_LEVELS[level])


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _emit(level: int, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
    with suppress(Exception):
        if _output is not None:
            _output.write(_NAMES[level], event, fields, error)
        elif _logger.hasHandlers():
            _logger.log(level, _sentence(event, fields), exc_info=error, stacklevel=3)
        else:
            line = f"wasmq: {_NAMES[level]}: {_sentence(event, fields)}"
            _stderr.write(line if error is None else f"{line}\n{_indented(error)}")


class _Lines:
    """Puts lines on a stream without ever waiting long for its reader, and counts those it had to drop.

    Bytes go straight to the descriptor, because only there can one ask first whether a write would block. Making the
    descriptor non-blocking instead would change it for every process that shares it, the user's shell among them.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._stalled = False
        self._torn = False
        self.dropped = 0

    def write(self, line: str) -> bool:
        """Write one line (given without its end) and return whether all of it went out."""
        with self._lock:
            try:
                written = self._write(line + "\n")
            except (OSError, ValueError):  # a broken pipe, a full disk, a closed file
                written = False
            self.dropped += not written
            return written

    def _write(self, text: str) -> bool:
        # Looked up each time: programs and test runners put another file in its place.
        stream = sys.stderr if self._stream is None else self._stream
        if stream is None or stream.closed:
            return False
        try:
            descriptor = stream.fileno()
        except (OSError, AttributeError):  # a StringIO, or a notebook's cell
            stream.write(text)
            stream.flush()
            return True
        data = memoryview(("\n" + text if self._torn else text).encode("utf-8", "backslashreplace"))
        # Whoever has once not been read is not waited for again until a line gets through.
        deadline = time.monotonic() + (0.0 if self._stalled else _PATIENCE)
        start = len(data)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self._stalled = True
                self._torn = self._torn or len(data) < start
                return False
            data = data[os.write(descriptor, data[:_CHUNK]) :]
        self._stalled = self._torn = False
        return True


class _Output:
    """Renders events in one format and writes them. structlog is imported with the first line, not before."""

    def __init__(self, lines: _Lines, *, console: bool, colors: bool) -> None:
        self._lines = lines
        self._console = console
        self._colors = colors

    def write(self, level: str, event: str, fields: Mapping[str, Any], error: BaseException | None = None) -> None:
        dropped = self._lines.dropped
        try:
            line = self._render(level, event, fields, error)
        except Exception:  # nothing known, which is why the event must not vanish with it
            line = f"{level}: {_sentence(event, fields)}"
        if self._lines.write(line) and dropped:
            report = self._render("warning", "logs.dropped", {"lines": dropped}, None)
            if self._lines.write(report):
                self._lines.dropped -= dropped

    def _render(self, level: str, event: str, fields: Mapping[str, Any], error: BaseException | None) -> str:
        # The first three keys come first, and no field can stand in for them.
        entry: EventDict = {"timestamp": "", "level": "", "event": "", **fields}
        entry.update(level=level, event=event, exc_info=error)
        rendered: Any = entry
        for process in self._processors:
            rendered = process(None, level, rendered)
        return str(rendered)

    @cached_property
    def _processors(self) -> tuple[Processor, ...]:
        import structlog.processors

        timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        if self._console:
            return (timestamp, _readable_entry, _console_renderer(self._colors))
        return (timestamp, _traced_entry, structlog.processors.JSONRenderer(serializer=_to_json))


class _Foreign(logging.Handler):
    """Brings what other libraries log through the standard library into our output."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            try:
                message = record.getMessage()
            except Exception:  # the caller's arguments do not fit its own text
                message = str(record.msg)
            error = record.exc_info[1] if record.exc_info else None
            self._output.write(record.levelname.lower(), message, {"logger": record.name}, error)


# Control characters, line and paragraph separators, marks that reorder text on a terminal, and halves of surrogate
# pairs: what a guest could use to make one line look like two, or to talk to the terminal.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"""[^\s"'=\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+""")


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _readable(value: object) -> str:
    """Return a value as people read it: a plain word as it is, other text quoted as in JSON, the rest by its repr."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _escape(json.dumps(value, ensure_ascii=False))
    try:
        return _escape(repr(value))
    except Exception:  # somebody else's __repr__
        return f"<{type(value).__name__}>"


def _sentence(event: str, fields: Mapping[str, Any]) -> str:
    return " ".join([_escape(event), *(f"{_escape(key)}={_readable(value)}" for key, value in fields.items())])


def _indented(error: BaseException) -> str:
    """Return a traceback whose lines cannot be taken for events: an exception's text may be a guest's."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(f"  | {_escape(line)}" for line in lines)


def _readable_entry(_logger: object, _method: str, entry: EventDict) -> EventDict:
    error = entry.pop("exc_info")
    readable: EventDict = {key: _escape(entry.pop(key)) for key in ("timestamp", "level", "event")}
    for key, value in entry.items():
        # The renderer gives these two lines of their own, which only a traceback is to have.
        readable[f"{key}_" if key in ("exception", "stack") else _escape(key)] = _readable(value)
    if error is not None:
        readable["exception"] = _indented(error)
    return readable


def _traced_entry(_logger: object, _method: str, entry: EventDict) -> EventDict:
    error = entry.pop("exc_info")
    if error is not None:
        entry["exception"] = "".join(traceback.format_exception(error))
    return entry


def _console_renderer(colors: bool) -> Processor:
    import structlog.dev as dev

    reset, bright, dim, cyan, magenta = (
        (dev.RESET_ALL, dev.BRIGHT, dev.DIM, dev.CYAN, dev.MAGENTA) if colors else ("",) * 5
    )

    def column(key_style: str | None, value_style: str) -> dev.ColumnFormatter:
        # Values arrive quoted and escaped; quoting them again would double every backslash.
        return dev.KeyValueColumnFormatter(key_style, value_style, reset, value_repr=str)

    levels = dev.ConsoleRenderer.get_default_level_styles(colors)
    return dev.ConsoleRenderer(
        columns=[
            dev.Column("timestamp", column(None, dim)),
            dev.Column("level", dev.LogLevelColumnFormatter(levels, reset)),
            dev.Column("event", column(None, bright)),
            dev.Column("", column(cyan, magenta)),
        ],
        exception_formatter=dev.plain_traceback,
        sort_keys=False,
    )


def _to_json(entry: EventDict, **_options: Any) -> str:  # structlog hands over what json.dumps would take
    try:
        text = msgspec.json.encode(entry, enc_hook=repr).decode()
    except Exception:  # half a surrogate pair, a cycle, a failing __repr__: one value at a time
        text = msgspec.json.encode({_escape(key): _jsonable(value) for key, value in entry.items()}).decode()
    # JSON leaves DEL, C1 and the separators beyond ASCII as they are.
    return text if text.isascii() and "\x7f" not in text else _escape(text)


def _jsonable(value: object) -> msgspec.Raw | str:
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=repr))
    except Exception:
        return _escape(value) if isinstance(value, str) else _readable(value)


_stderr = _Lines(None)
_output: _Output | None = None
