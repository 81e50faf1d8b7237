"""The one place where an exception becomes a line and an exit status."""

from __future__ import annotations

import pytest
from cyclopts import App

from wasmq.cli import app as module
from wasmq.cli.app import main
from wasmq.errors import QueueFull, WorkerUnavailable
from wasmq.version import __version__


@pytest.fixture
def raising(monkeypatch):
    """Give `wasmq` one more command, `fail`, that raises what the test wants."""

    def install(error: BaseException) -> None:
        def fail() -> int:
            raise error

        app = App(
            name="wasmq",
            result_action="return_value",
            exit_on_error=False,
            print_error=False,
            suppress_keyboard_interrupt=False,
        )
        app.command(fail)
        monkeypatch.setattr(module, "app", app)

    return install


def test_version(capsys):
    """`--version` prints the name and the version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wasmq {__version__}\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nonesuch"], "nonesuch"),
        (["--nonesuch"], "--nonesuch"),
        (["config", "--nonesuch"], "--nonesuch"),
        (["config", "extra"], "extra"),
        (["config", "--config"], "--config"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_status_2(words, named, capsys):
    """The line names what was wrong and where help is."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wasmq: ")
    assert printed.err.count("\n") == 1
    assert named in printed.err
    assert "--help" in printed.err


def test_an_error_of_ours_is_its_own_line(raising, capsys):
    """What wasmq raises on purpose is printed as it is."""
    raising(QueueFull("the queue is full"))

    assert main(["fail"]) == 77
    assert capsys.readouterr().err == "wasmq: the queue is full\n"


def test_a_task_groups_wrapping_is_taken_off(raising, capsys):
    """An error out of a task group is reported as the error that it is."""
    raising(ExceptionGroup("unhandled errors", [ExceptionGroup("again", [WorkerUnavailable("no worker")])]))

    assert main(["fail"]) == 70
    assert capsys.readouterr().err == "wasmq: no worker\n"


def test_a_bug_is_one_line_without_a_traceback(raising, capsys):
    """An exception that nobody foresaw says what it is and how to see more."""
    raising(KeyError("x"))

    assert main(["fail"]) == 70
    assert capsys.readouterr().err == (
        "wasmq: internal error: KeyError: 'x' (run it again with --debug for the traceback)\n"
    )


@pytest.mark.parametrize("words", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback(words, raising, capsys):
    """With --debug, wherever it stands, the traceback comes before the line."""
    raising(KeyError("x"))

    assert main(words) == 70
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback ")
    assert printed.splitlines()[-1].startswith("wasmq: internal error: KeyError")


def test_an_interrupt_is_130(raising, capsys):
    """Ctrl-C is no bug."""
    raising(KeyboardInterrupt())

    assert main(["fail"]) == 130
    assert capsys.readouterr().err == "wasmq: cancelled\n"
