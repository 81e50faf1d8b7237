"""`python -m tests.fuzz TARGET [--seconds N]`: fuzz for long. What is found is put under build/fuzz/TARGET."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# As pytest has it, so that a target is the same module wherever it runs; and never this directory, in which names are
# those of other packages too.
_HERE = Path(__file__).parent
sys.path[:] = [str(_HERE.parent), *[entry for entry in sys.path if entry != str(_HERE)]]

from fuzz import coverage  # noqa: E402

_FOUND = Path("build") / "fuzz"
_UNAVAILABLE = 69


def main() -> int:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--child"]:
        coverage.child(sys.argv[2], sys.argv[3], sys.argv[4:])
    given = _arguments()
    if given.replay:
        return coverage.replay(given.target, given.replay)
    targets = coverage.TARGETS if given.target == "all" else (given.target,)
    if given.keep:
        for target in targets:
            coverage.keep(target, _FOUND / target)
        return 0
    if not coverage.is_there():
        print(f"fuzz: {coverage.MISSING}", file=sys.stderr)
        return _UNAVAILABLE
    for target in targets:
        work = _FOUND / target
        status = coverage.run(target, work, f"-max_total_time={given.seconds}")
        if status:
            print(f"fuzz: {target} broke; give --replay the input that is under {work}", file=sys.stderr)
            return status
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*coverage.TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=300, help="how long each target runs (300)")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="give the target these inputs, and end")
    parser.add_argument("--keep", action="store_true", help="add to the corpus what earlier runs have found, and end")
    given = parser.parse_args()
    if given.replay and given.target == "all":
        parser.error("--replay is for one target")
    return given


if __name__ == "__main__":
    sys.exit(main())
