"""`python -m benchmarks`: measure everything, each benchmark in a process of its own, and print one table.

The table is Markdown, for the README; the figure of every round goes to benchmarks/results/latest.json. Nothing here
fails for being slow: a missed target is said in the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import msgspec

from benchmarks.common import RESULTS, ROOT, Report, page, say

NAMES = (
    "worker",
    "scheduler",
    "durable",
    "queues",
    "idle",
    "neighbours",
    "flooding",
    "real_neighbours",
    "attacks",
    "wasi",
    "component",
    "host_call",
    "suspended",
    "startup",
    "sandbox",
    "fuel",
    "decision",
    "http",
)


def main() -> int:
    """Return 0, or the exit status of the first benchmark that could not be run to its end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"what to measure: {', '.join(NAMES)}; else all")
    parser.add_argument("--rounds", type=int, help="times that everything is measured; else what each one takes")
    parser.add_argument("--json", action="store_true", help="print what goes to latest.json instead of the table")
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES:
            parser.error(f"no benchmark is called {name!r}; there are {', '.join(NAMES)}")
    reports = []
    for name in options.names or NAMES:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        if options.rounds is not None:
            command += ["--rounds", str(options.rounds)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            print(f"benchmarks: {name} ended with status {done.returncode}", file=sys.stderr)
            return done.returncode
        reports.append(msgspec.json.decode(done.stdout, type=Report))
        say(f"{name}: {reports[-1].seconds:.0f} s, others used {reports[-1].others:.0%} of the machine meanwhile")
    encoded = msgspec.json.format(msgspec.json.encode(reports), indent=1)
    if not options.names:
        (RESULTS / "latest.json").write_bytes(encoded + b"\n")
    print(encoded.decode() if options.json else page(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
