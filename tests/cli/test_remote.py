"""The verbs against a daemon, each a process of its own, as a shell has them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess

import pytest

from wasmq.cli.top import Sample, read_metrics, summary

GUESTS = "workers/guests"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where a daemon listens that runs while these tests do."""
    import os
    import sys
    from pathlib import Path

    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WASMQ_")}
    kept |= {
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "workers")]),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }
    command = [
        sys.executable,
        "-m",
        "wasmq",
        "serve",
        "--port",
        "0",
        "--workers",
        "1",
        "--store",
        "memory://",
        "--json",
    ]
    with subprocess.Popen(command, cwd=root, env=kept, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if '"daemon.ready"' in line:
                break
        # Nobody reads its log any further, and it must not wait for that.
        import threading

        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield json.loads(line)["url"]
        process.terminate()


@pytest.fixture
def call(wasmq, url):
    """Run a verb against the daemon."""
    return lambda *words: wasmq(*words, "--url", url)


def test_a_job_from_submission_to_its_value(call):
    """`submit` prints an id, with which `wait` prints the value and `status` the bill; `jobs` lists it."""
    done = call("submit", f"{GUESTS}/mul.wat", "mul", "6", "7", "--tenant", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    job = done.stdout.strip()
    done = call("wait", job)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    status = call("status", job)
    assert re.search(r"^state +succeeded$", status.stdout, re.MULTILINE)
    assert re.search(r"^fuel +4$", status.stdout, re.MULTILINE)
    body = json.loads(call("status", job, "--json").stdout)
    assert (body["id"], body["outcome"]["value"], body["outcome"]["fuel_used"]) == (job, 42, 4)
    [listed] = json.loads(call("jobs", "--tenant", "acme", "--json").stdout)
    assert listed["id"] == job
    assert job in call("jobs").stdout
    done = call("cancel", job)
    assert (done.returncode, "had finished already" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["loop.wat", "spin", "--fuel", "10000"], 152, "out of fuel"),
        (["loop.wat", "spin", "--fuel", "1000000000000", "--timeout", "0.1"], 124, "timed out"),
        (["divide.wat", "divide", "1", "0"], 134, "divide by zero"),
        (["mul.wat", "div", "1"], 2, "no export 'div'"),
        (["mul.wat", "mul", "1"], 2, "mul takes 2 arguments"),
        (["mul.wat", "mul", "1", "2", "--fuel", "1000000000000000"], 77, "fuel"),
        (["none.wat", "mul", "1", "2"], 66, "none.wat"),
    ],
)
def test_exit_statuses_are_those_of_run(call, words, status, line):
    """With --wait, `submit` ends as `run` does."""
    file, *rest = words
    done = call("submit", "--wait", f"{GUESTS}/{file}", *rest)
    assert (done.returncode, done.stdout) == (status, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_program_is_submitted_as_it_is_run(call, tmp_path):
    """Arguments after --, environment, input from a file; output as the program wrote it; its own exit status."""
    (tmp_path / "in").write_bytes(b"abc")
    words = ["--env", "NAME=x", "--stdin", tmp_path / "in"]
    done = call("submit", "--wait", f"{GUESTS}/wasi/hello.wasm", *words, "--argv=-n")
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["argument 0: hello.wasm", "argument 1: -n", "NAME=x", "ABC"]
    assert done.stderr == "done\n"
    job = call("submit", f"{GUESTS}/wasi/hello.wasm", *words).stdout.strip()
    followed = call("wait", job, "--follow")
    assert followed.stdout.splitlines()[-1] == "ABC"
    assert followed.stderr == "done\n"


def test_a_module_is_known_by_its_digest(call):
    """`modules FILE` brings a module and prints its digest, by which jobs can name it."""
    digest = call("modules", f"{GUESTS}/mul.wat").stdout.strip()
    assert len(digest) == 64
    assert digest in call("modules").stdout
    assert [each["digest"] for each in json.loads(call("modules", f"{GUESTS}/mul.wat", "--json").stdout)] == [digest]
    assert call("submit", "--wait", digest, "mul", "2", "4").stdout == "8\n"


def test_a_running_job_is_cancelled(call):
    """`wait` gives up after its time with 75, `cancel` ends the job, `wait` then ends as cancelled."""
    job = call("submit", f"{GUESTS}/loop.wat", "spin", "--fuel", "1000000000000", "--timeout", "60").stdout.strip()
    done = call("wait", job, "--timeout", "0.1")
    assert done.returncode == 75
    assert re.search(rf"job {job} is still (queued|running)", done.stderr)
    assert json.loads(call("cancel", job, "--json").stdout) == [{"id": job, "cancelled": True}]
    assert call("wait", job).returncode == 130
    done = call("requeue", job)
    assert (done.returncode, "only what was lost" in done.stderr) == (77, True)


def test_a_suspended_job_is_refuelled(call):
    """`submit --on-exhausted suspend` waits for `refuel`, which says what the job may spend; `status` shows it."""
    words = ("--fuel", "1000", "--on-exhausted", "suspend", "--suspend", "50")
    job = call("submit", f"{GUESTS}/loop.wat", "burn", "30000", *words).stdout.strip()
    followed = json.loads(call("status", job, "--json").stdout)
    while not followed["suspended"]:
        followed = json.loads(call("status", job, "--json").stdout)
    assert (followed["state"], followed["fuel_spent"]) == ("running", 1_000)
    assert re.search(r"^state +suspended$", call("status", job).stdout, re.MULTILINE)
    assert call("refuel", job, "9000").stdout == "10000\n"
    assert json.loads(call("refuel", job, "90000", "--json").stdout) == {"id": job, "fuel": 100_000}
    free = json.loads(call("submit", f"{GUESTS}/loop.wat", "burn", "30000", "--wait", "--json").stdout)
    ended = json.loads(call("wait", job, "--json").stdout)
    assert ended["outcome"]["fuel_used"] == free["outcome"]["fuel_used"]
    done = call("refuel", job, "1")
    assert (done.returncode, done.stderr) == (77, f"wasmq: job {job}: it has ended already, as succeeded\n")


def test_tenants_are_set_and_shown(call):
    """`tenants NAME --weight` sets a share, `tenants` lists it."""
    assert json.loads(call("tenants", "bolt", "--weight", "2.5", "--json").stdout)["bolt"]["weight"] == 2.5
    assert json.loads(call("tenants", "--json").stdout)["bolt"]["weight"] == 2.5
    assert re.search(r"^bolt +2\.5", call("tenants").stdout, re.MULTILINE)
    assert json.loads(call("tenants", "bolt", "--reuse", "flight", "--json").stdout)["bolt"]["reuse"] == "flight"
    assert call("tenants", "--weight", "2").returncode == 2


def test_an_account_is_set_credited_and_spent(call):
    """Terms and figures are shown; what the account cannot pay for ends with 77, and a line that says why."""
    assert call("tenants", "dime", "--fuel-budget", "10", "--on-empty", "refuse", "--memory", "1MiB").returncode == 0
    shown = json.loads(call("tenants", "dime", "--credit", "5", "--json").stdout)["dime"]
    assert (shown["fuel_budget"], shown["memory"], shown["account"]["free"]) == (10, 2**20, 15)
    job = ("submit", "workers/guests/mul.wat", "mul", "2", "4", "--tenant", "dime", "--memory", "64KiB", "--fuel")
    assert call(*job, "15", "--wait").stdout == "8\n"
    refused = call(*job, "15")
    assert refused.returncode == 77
    assert "tenant 'dime': its account has 11 fuel free, of 15 that would be reserved" in refused.stderr
    assert re.search(r"^dime .* 1 MiB +10 .* 11 +0 +4 +0$", call("tenants").stdout, re.MULTILINE)
    assert call("tenants", "dime", "--fuel-rate", "0").returncode == 2
    assert call("tenants", "dime", "--credit", "-1").returncode == 2


def test_top_is_text_where_there_is_no_terminal(call):
    """`top` looks once and writes lines that awk can read; with --json an object."""
    done = call("top", "--interval", "0.1")
    assert done.returncode == 0
    assert re.search(r"^workers +1$", done.stdout, re.MULTILINE)
    facts = json.loads(call("top", "--interval", "0.1", "--json").stdout)
    assert (facts["workers"], facts["queued"]) == (1, 0)


@pytest.mark.parametrize("words", [("status", "a"), ("cancel", "a"), ("jobs",), ("modules",), ("tenants",), ("top",)])
def test_no_daemon_is_69(wasmq, words):
    """Where nobody listens, each verb says so in one line."""
    done = wasmq(*words, "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("wasmq: http://127.0.0.1:9: no daemon answers")


def test_an_unknown_job_is_2(call):
    """An id that names nothing is a wrong call."""
    assert call("status", "nobody").returncode == 2


def test_a_token_and_its_digest_belong_together(wasmq):
    """`token` prints a token that is new each time, and the line for the configuration."""
    first, second = (json.loads(wasmq("token", "--json").stdout) for _ in range(2))
    assert first["token"] != second["token"]
    assert first["digest"] == f"sha256:{hashlib.sha256(first['token'].encode()).hexdigest()}"
    token, line = wasmq("token").stdout.splitlines()
    assert line == f'tokens = ["sha256:{hashlib.sha256(token.encode()).hexdigest()}"]'


def test_metrics_are_read_with_their_labels():
    """Numbers by name and labels, escaped ones too; what is no number is left out."""
    text = '# HELP x y\nwasmq_jobs{state="queued"} 3.0\nwasmq_a{t="a\\"b,c=d",u="e"} 1e3\nwasmq_workers 2\nnonsense\n'
    values = read_metrics(text)
    assert values["wasmq_jobs", (("state", "queued"),)] == 3.0
    assert values["wasmq_a", (("t", 'a\\"b,c=d'), ("u", "e"))] == 1000.0
    assert values["wasmq_workers", ()] == 2.0
    assert len(values) == 3


def test_rates_are_differences_over_time():
    """Rates come from two looks; a daemon that was started anew in between gives 0, not a negative rate."""

    def sample(at, finished):
        return Sample(at, read_metrics(f'wasmq_jobs_finished_total{{status="trapped",tenant="a"}} {finished}\n'), [])

    facts = summary(sample(10.0, 100), sample(12.0, 140))
    assert (facts["finished_per_second"], facts["failed_per_second"]) == (20.0, 20.0)
    assert facts["tenants"]["a"]["jobs_per_second"] == 20.0
    assert summary(sample(10.0, 100), sample(12.0, 0))["finished_per_second"] == 0.0


def test_a_bill_is_checked(call):
    """`replay` says that a job agrees with itself, run by the daemon or here by the other engine."""
    job = call("submit", f"{GUESTS}/mul.wat", "mul", "6", "7", "--wait", "--json")
    job = json.loads(job.stdout)
    assert job["outcome"]["receipt"]["deterministic"] is True
    assert job["outcome"]["receipt"]["digest"] in call("status", job["id"]).stdout
    done = call("replay", job["id"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("agrees: succeeded, 4 fuel, result ")
    found = json.loads(call("replay", job["id"], "--engine", "interpreter", "--json").stdout)
    assert (found["agrees"], found["again"], found["now"]["engine"]) == (True, None, "interpreter")
    assert found["now"]["result"] == job["outcome"]["receipt"]["result"]
    done = call("replay", job["id"], "--engine", "native", "--module", f"{GUESTS}/loop.wat")
    assert (done.returncode, "which the job does not call" in done.stderr) == (2, True)
    late = call(
        "submit", f"{GUESTS}/loop.wat", "spin", "--timeout", "0.05", "--fuel", "1000000000000", "--wait", "--json"
    )
    late = json.loads(late.stdout)["id"]
    for more in ((), ("--engine", "native")):
        done = call("replay", late, *more)
        assert (done.returncode, "it ended by the clock" in done.stderr) == (77, True)
    call("submit", f"{GUESTS}/mul.wat", "mul", "6", "7", "--reuse", "result", "--wait")
    again = call("submit", f"{GUESTS}/mul.wat", "mul", "6", "7", "--reuse", "result", "--wait", "--json")
    again = json.loads(again.stdout)
    assert (again["outcome"]["fuel_used"], again["outcome"]["fuel_saved"]) == (0, 4)
    assert f"{again['outcome']['reused']}, 4 fuel saved" in call("status", again["id"]).stdout


def test_a_cap_is_suggested_by_what_was_used(call):
    """`estimate` says what calls have used and which cap follows, or plainly that nothing is known."""
    name = f"{GUESTS}/divide.wat"
    none = call("estimate", name, "divide", "--tenant", "estimated")
    assert (none.returncode, none.stderr) == (0, "")
    assert none.stdout.startswith("no history: the daemon remembers no call of divide of ")
    for _ in range(2):
        assert call("submit", name, "divide", "6", "3", "--tenant", "estimated", "--wait").returncode == 0
    done = call("estimate", name, "divide", "--tenant", "estimated")
    assert (done.returncode, done.stderr) == (0, "")
    assert "by the last 2 outcomes" in done.stdout
    [cap] = re.findall(r"^suggested +--fuel ([0-9]+) \(p99 times 1.5\)$", done.stdout, re.MULTILINE)
    body = json.loads(call("estimate", name, "divide", "--tenant", "estimated", "--json").stdout)
    assert (body["outcomes"], body["fuel_cap"]) == (2, int(cap))
    wrong = call("estimate", name, "nothing")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no export 'nothing'" in wrong.stderr
    assert call("estimate", "missing.wat", "f").returncode == 66


def test_a_deadline_is_shown_with_the_job(call):
    """`submit` takes it in seconds, `status` shows the time; a job that is not expected to make it is refused."""
    done = call("submit", f"{GUESTS}/loop.wat", "burn", "1000000", "--deadline", "60")
    assert (done.returncode, done.stderr) == (0, "")
    job = done.stdout.strip()
    assert call("wait", job).returncode == 0
    assert re.search(r"^deadline +20", call("status", job).stdout, re.MULTILINE)
    assert json.loads(call("status", job, "--json").stdout)["deadline"].startswith("20")
    done = call("submit", f"{GUESTS}/loop.wat", "burn", "1000000", "--deadline", "0.00001")
    assert (done.returncode, done.stdout) == (77, "")
    assert "is too soon" in done.stderr
