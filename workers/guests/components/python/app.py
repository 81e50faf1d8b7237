"""A component built from Python: see ../README.md for how it is built and run."""

import os
import sys
import time

from componentize_py_types import Err
from wit_world import Person, Problem
from wit_world import WitWorld as World


class WitWorld(World):
    """The functions of the world `example`, as example.wit has them."""

    def greet(self, who: Person) -> str:
        if who.age > 150:
            raise Err(Problem(422, f"{who.name} cannot be {who.age}"))
        return f"Hello {who.name}, {who.age}, known as {' and '.join(who.emails) or 'nobody'}"

    def total(self, numbers: list[float]) -> float:
        return sum(numbers)

    def say(self, text: str) -> None:
        print(text)
        print(os.environ.get("LOUD", "quiet"), *sys.argv, file=sys.stderr)

    def nap(self, seconds: float) -> float:
        before = time.monotonic()
        time.sleep(seconds)
        return time.monotonic() - before

    def fill(self, size: int) -> int:
        return len(bytearray(size))

    def look(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def leave(self, code: int) -> None:
        sys.exit(code)
