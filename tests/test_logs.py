"""Logging: what comes out, where it goes, and that it never hurts the program that logs."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasmq import logs
from wasmq.errors import ConfigError

anything = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@pytest.fixture
def pipe():
    """A pipe as (the end to read from, the end to write to)."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source, os.fdopen(writer, "w") as sink:
        yield source, sink


def events(stream):
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


def available(source):
    """Everything that is in the pipe now."""
    os.set_blocking(source.fileno(), False)
    text = b""
    while chunk := source.read(2**16):
        text += chunk
    return text.decode()


def fail(error):
    raise error


def run(program):
    """Run a program that embeds wasmq; return what it wrote to stderr."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


class TestEmbedded:
    def test_only_warnings_reach_stderr_as_one_line(self):
        """A program without logging of its own sees warnings as one line each, and nothing of the normal course."""
        stderr = run(
            "from wasmq.logs import get_logger\n"
            "logger = get_logger(worker='w-1')\n"
            "logger.debug('a'); logger.info('b')\n"
            "logger.warning('worker.lost', reason='signal 9')\n"
            "logger.error('store.failed')\n"
        )
        assert stderr.splitlines() == [
            'wasmq: warning: worker.lost worker=w-1 reason="signal 9"',
            "wasmq: error: store.failed worker=w-1",
        ]

    def test_structlog_is_not_even_imported(self):
        """The host does not pay for a library that only a daemon's log needs."""
        program = (
            "import sys\nfrom wasmq.logs import get_logger\nget_logger().warning('a.b')\n"
            "assert 'structlog' not in sys.modules"
        )
        assert run(program) == "wasmq: warning: a.b\n"

    def test_a_host_that_set_up_logging_gets_the_events(self, caplog):
        """Our warnings arrive as records of the logger "wasmq", with the line that called us and the exception."""
        logger = logs.get_logger(job="j1")
        error = ValueError("no")
        logger.warning("job.odd", exc_info=error)
        (record,) = caplog.records
        assert (record.name, record.levelname, record.getMessage()) == ("wasmq", "WARNING", "job.odd job=j1")
        assert record.filename == "test_logs.py"
        assert record.exc_info[1] is error

    def test_a_percent_sign_is_not_a_format(self, caplog):
        """Text from a guest is never taken for a format string."""
        logs.get_logger().warning("job.odd", error="%s %d %(x)s")
        assert caplog.records[0].getMessage() == 'job.odd error="%s %d %(x)s"'

    def test_a_chatty_host_does_not_get_our_chatter(self, caplog):
        """A root logger at debug is not an invitation: wasmq's own level is asked for by name."""
        caplog.set_level(logging.DEBUG)
        logger = logs.get_logger()
        logger.info("job.finished")
        assert not caplog.records
        assert not logger.enabled("info")
        caplog.set_level(logging.INFO, logger="wasmq")
        logger.info("job.finished")
        assert [record.getMessage() for record in caplog.records] == ["job.finished"]
        assert logger.enabled("info")

    @pytest.mark.parametrize("breakage", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
    def test_a_missing_stderr_is_silence(self, breakage):
        """Nothing is raised when the host has closed its stderr or has none."""
        run(f"import os, sys\nfrom wasmq.logs import get_logger\n{breakage}\nget_logger().error('a.b')")

    def test_an_exception_cannot_pose_as_an_event(self):
        """A traceback follows its event on indented lines, whatever the exception's text says."""
        stderr = run(
            "from wasmq.logs import get_logger\n"
            "try:\n    raise ValueError('x\\nwasmq: error: forged\\u2028wasmq: error: forged')\n"
            "except ValueError:\n    get_logger().exception('a.b')\n"
        )
        first, *rest = stderr.splitlines()
        assert first == "wasmq: error: a.b"
        assert rest
        assert all(line.startswith("  | ") for line in rest)
        assert "ValueError: x" in stderr


class TestJSON:
    def test_timestamp_level_and_event_come_first_then_the_context(self):
        """One object a line, in a stable order, with UTC time in ISO 8601."""
        stream = io.StringIO()
        logs.configure(stream=stream)
        before = datetime.now(UTC)
        logs.get_logger(job="j1").bind(tenant="acme").info("job.finished", fuel_used=4, error=None, ran=0.5)
        assert stream.getvalue().endswith("}\n")
        (event,) = events(stream)
        assert list(event) == ["timestamp", "level", "event", "job", "tenant", "fuel_used", "error", "ran"]
        assert before <= datetime.fromisoformat(event.pop("timestamp")) <= datetime.now(UTC)
        assert event == {
            "level": "info",
            "event": "job.finished",
            "job": "j1",
            "tenant": "acme",
            "fuel_used": 4,
            "error": None,
            "ran": 0.5,
        }

    def test_no_field_stands_in_for_the_first_three(self):
        """A field called event, level or timestamp does not replace ours."""
        stream = io.StringIO()
        logs.configure(stream=stream)
        logs.get_logger().info("a.b", event="forged", level="forged", timestamp="forged")
        assert "forged" not in stream.getvalue()

    def test_an_exception_is_a_field(self):
        """The traceback is text in the same object."""
        stream = io.StringIO()
        logs.configure(stream=stream)
        try:
            fail(ValueError("no\nway"))
        except ValueError:
            logs.get_logger().exception("a.b")
        (event,) = events(stream)
        assert event["level"] == "error"
        assert event["exception"].startswith("Traceback")
        assert event["exception"].endswith("ValueError: no\nway\n")

    @anything
    @given(text=st.text(st.characters(), max_size=40))
    def test_text_arrives_as_it_was_and_on_one_line(self, text):
        """Whatever a guest says is one line under every reading of "line", and nothing but text."""
        stream = io.StringIO()
        logs.configure(stream=stream)
        logs.get_logger().info("job.finished", error=text)
        line = stream.getvalue()
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", line)
        if not re.search("[\ud800-\udfff]", text):
            assert json.loads(line)["error"] == text

    def test_what_json_cannot_say_is_said_in_words(self):
        """Foreign objects, cycles and failing reprs cost neither the line nor the other fields."""

        class Broken:
            def __repr__(self):
                raise RuntimeError("no")

        cycle = []
        cycle.append(cycle)
        stream = io.StringIO()
        logs.configure(stream=stream)
        logs.get_logger().info(
            "a.b",
            foreign=1j,
            cycle=cycle,
            broken=Broken(),
            half="\ud800\n",
            fine=[1, "x"],
            nan=float("nan"),
        )
        (event,) = events(stream)
        del event["timestamp"], event["level"], event["event"]
        assert event == {
            "foreign": "1j",
            "cycle": "[[...]]",
            "broken": "<Broken>",
            "half": "\\ud800\\u000a",
            "fine": [1, "x"],
            "nan": None,
        }


class TestConsole:
    @anything
    @given(
        event=st.text(st.characters(), max_size=20),
        key=st.text(max_size=10) | st.sampled_from(["stack", "exception", "level"]),
        text=st.text(st.characters(), max_size=40),
    )
    def test_no_text_makes_a_second_line_or_talks_to_the_terminal(self, event, key, text):
        """Events, keys and values are escaped: one call, one line, no control characters."""
        stream = io.StringIO()
        logs.configure("info", "console", stream)
        logs.get_logger().info(event, **{key: text})
        line = stream.getvalue()
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line)

    def test_a_value_with_blanks_is_quoted_once(self):
        """A value cannot pretend to be more fields, and its backslashes are not doubled twice."""
        stream = io.StringIO()
        logs.configure("info", "console", stream)
        logs.get_logger().info("a.b", word="plain", text='x y="1"\n', number=1.5, nothing=None, list=["a b"])
        assert stream.getvalue().split("] ")[1] == (
            'a.b word=plain text="x y=\\"1\\"\\n" number=1.5 nothing=None list=[\'a b\']\n'
        )

    def test_a_traceback_is_indented(self):
        """An exception follows its event on lines that cannot be taken for events."""
        stream = io.StringIO()
        logs.configure("info", "console", stream)
        try:
            fail(ValueError("no\n2026-01-01T00:00:00Z [info] forged"))
        except ValueError:
            logs.get_logger().exception("a.b", stack="x\ny")
        first, *rest = stream.getvalue().splitlines()
        assert rest
        assert all(line.startswith("  | ") for line in rest)
        assert first.endswith('a.b stack_="x\\ny"')

    def test_auto_is_colours_on_a_terminal(self, monkeypatch):
        """A person at a terminal gets colours, unless NO_COLOR says otherwise."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        for colours in (True, False):
            controller, terminal = os.openpty()
            with os.fdopen(terminal, "w") as stream, os.fdopen(controller, "rb", buffering=0) as screen:
                logs.configure(stream=stream)
                logs.get_logger().info("job.finished", job="j1")
                seen = screen.read(1000).decode()
            assert not seen.startswith("{")
            assert "job.finished" in seen
            assert ("\x1b[" in seen) is colours
            monkeypatch.setenv("NO_COLOR", "1")


class TestConfigure:
    def test_the_level_is_the_lowest_written(self):
        """What is below the level is not written, and `enabled` says so beforehand."""
        stream = io.StringIO()
        logs.configure("warning", stream=stream)
        logger = logs.get_logger()
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)(f"at.{level}")
        assert [event["event"] for event in events(stream)] == ["at.warning", "at.error"]
        assert [level for level in logs._LEVELS if logger.enabled(level)] == ["warning", "error"]

    def test_a_logger_made_before_follows(self):
        """Modules make their loggers at import, long before the daemon configures."""
        logger = logs.get_logger(worker="w-1")
        stream = io.StringIO()
        logs.configure("debug", stream=stream)
        logger.debug("a.b")
        assert events(stream)[0]["worker"] == "w-1"

    def test_the_standard_library_comes_out_the_same_way(self):
        """What other libraries log is rendered like our own events, its exceptions included."""
        stream = io.StringIO()
        logs.configure("info", stream=stream)
        other = logging.getLogger("another.library")
        other.debug("unseen")
        other.info("Started on %s", "port 1")
        try:
            fail(KeyError("k"))
        except KeyError:
            other.critical("bad", exc_info=True)
        started, bad = events(stream)
        assert {key: started[key] for key in ("level", "event", "logger")} == {
            "level": "info",
            "event": "Started on port 1",
            "logger": "another.library",
        }
        assert bad["level"] == "critical"
        assert "KeyError: 'k'" in bad["exception"]

    def test_a_badly_formatted_record_is_still_written(self):
        """Another library's wrong format string costs its arguments, not the line, and raises nothing."""
        stream = io.StringIO()
        logs.configure("info", stream=stream)
        record = logging.LogRecord("other", logging.INFO, "", 0, "%d jobs", ("many",), None)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logs._Foreign):
                handler.handle(record)
        assert events(stream)[0]["event"] == "%d jobs"

    def test_the_last_call_wins(self):
        """Configuring again replaces the stream and leaves nothing written twice."""
        first, second = io.StringIO(), io.StringIO()
        logs.configure(stream=first)
        logs.configure(stream=second)
        logs.get_logger().info("a.b")
        logging.getLogger("other").info("c")
        assert first.getvalue() == ""
        assert [event["event"] for event in events(second)] == ["a.b", "c"]

    def test_structlogs_own_configuration_is_untouched(self):
        """A program that uses structlog itself keeps its processors."""
        mine = io.StringIO()
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(mine)
        )
        try:
            before = structlog.get_config()
            logs.configure("info", "console", io.StringIO())
            logs.get_logger().error("a.b")
            structlog.get_logger().info("theirs")
            assert structlog.get_config() == before
            assert mine.getvalue() == '{"event": "theirs"}\n'
        finally:
            structlog.reset_defaults()

    @pytest.mark.parametrize(("level", "form", "key"), [("loud", "auto", "logs.level"), ("info", "xml", "logs.format")])
    def test_nonsense_is_refused(self, level, form, key):
        """A level or format that does not exist is named together with those that do."""
        with pytest.raises(ConfigError, match=rf"^{key}: '\w+' is not a .*; use "):
            logs.configure(level, form)


class TestTrouble:
    """The log's reader is gone, slow or full: the program goes on."""

    def test_a_closed_stream_is_silence(self, pipe):
        """Nothing is raised once the stream is closed."""
        _, sink = pipe
        logs.configure(stream=sink)
        sink.close()
        logs.get_logger().error("a.b")
        logging.getLogger("other").error("c")

    def test_a_broken_pipe_is_silence(self, pipe):
        """Nothing is raised once the reader has gone."""
        source, sink = pipe
        logs.configure(stream=sink)
        source.close()
        for _ in range(3):
            logs.get_logger().error("a.b")

    def test_a_renderer_that_fails_costs_the_format_and_not_the_event(self):
        """An event that cannot be rendered is written plainly instead of vanishing."""

        def fail_to_render(*_):
            raise LookupError

        stream = io.StringIO()
        logs.configure(stream=stream)
        logs._output._processors = (fail_to_render,)
        logs.get_logger(job="j1").error("a.b")
        assert stream.getvalue() == "error: a.b job=j1\n"

    def test_a_full_disk_is_silence(self):
        """Nothing is raised when there is no room."""
        with open("/dev/full", "w") as full:  # noqa: PTH123 - the device, not a path
            logs.configure(stream=full)
            logs.get_logger().error("a.b")

    def test_a_reader_that_stops_reading_costs_lines_and_not_the_program(self, pipe):
        """Nobody reads: every call returns, and once somebody reads again the log says how many lines are missing."""
        source, sink = pipe
        logs.configure(stream=sink)
        logger = logs.get_logger()
        sent = 200
        for number in range(sent):
            logger.info("a.b", number=number, text="x" * 1000)
        received = [json.loads(line) for line in available(source).splitlines()]
        assert 0 < len(received) < sent
        assert [event["number"] for event in received] == list(range(len(received)))
        logger.info("c.d")
        logger.info("e.f")
        after = [json.loads(line) for line in available(source).splitlines()]
        assert [event["event"] for event in after] == ["c.d", "logs.dropped", "e.f"]
        assert after[1]["lines"] == sent - len(received)

    def test_a_line_cut_short_spoils_only_itself(self, pipe):
        """A line that was dropped half way does not swallow the next one."""
        source, sink = pipe
        logs.configure(stream=sink)
        logger = logs.get_logger()
        for _ in range(2):
            logger.info("a.b", text="x" * 50_000)
        received = available(source)
        assert not received.endswith("\n")
        logger.info("c.d")
        torn, *after = available(source).splitlines()
        assert torn == ""
        assert [json.loads(line)["event"] for line in after] == ["c.d", "logs.dropped"]
