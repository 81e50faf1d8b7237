"""What one job sees of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq_worker.wasi import environment
from wasmq_worker.wasi.descriptors import Allowance, Input, OpenDirectory, Output, Table
from wasmq_worker.wasi.errno import Failed
from wasmq_worker.wasi.nodes import Directory, File
from wasmq_worker.wasi.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wasmq_worker.wasi.environment import Clock


class World:
    """Arguments, environment, standard streams, files, time and chance of one job. Made for it, and gone with it.

    `output_cap` is how many bytes of standard output and error are kept together; the guest is told that all of it was
    written. `quota` is the bytes that all files may have together, those that came with the job included, and
    `max_entries` how many files, directories and links there may be. `monotonic` and `wall` return nanoseconds, `wall`
    those since 1970. With `deterministic` neither is asked: the same calls see the same times and the same random
    bytes, and a sleep is over at once.

    Raises ValueError, in one line, for arguments that no guest could be given: a NUL byte, an environment name that is
    empty or contains "=", a file name that leads outside, or files that do not fit the quota.

    `streams` are standard input, output and error; `preopens` the directories that a guest has from the start, by name.

    `moved` is what the guest's calls have cost so far, in bytes: each byte copied into or out of its memory, 8 for each
    buffer named in a vector and for each item of a list, and what the file system did besides (zeros filled in, links
    followed, names listed).
    """

    def __init__(
        self,
        *,
        argv: Sequence[str | bytes],
        env: Mapping[str, str],
        stdin: bytes,
        files: Mapping[str, bytes],
        output_cap: int,
        quota: int,
        max_entries: int,
        deterministic: bool,
        monotonic: Callable[[], int],
        wall: Callable[[], int],
    ) -> None:
        self.argv = [_text("an argument", item) for item in argv]
        self.env = [_variable(name, value) for name, value in env.items()]
        self.clock: Clock = environment.FixedClock() if deterministic else environment.HostClock(monotonic, wall)
        self.deterministic = deterministic
        self.tree = Tree(quota, max_entries, self.clock.wall)
        for name, content in files.items():
            self._place(name, content)
        self.tree.work = 0
        allowance = Allowance(output_cap)
        self.streams = (Input(stdin), Output(allowance), Output(allowance))
        self.preopens: dict[str, Directory] = {"/": self.tree.root}
        self.descriptors = Table(
            self.tree,
            (
                *self.streams,
                # wasi-libc looks for the preopened directory with the longest name that fits: relative paths go to
                # the one, absolute paths to the other.
                OpenDirectory(self.tree.root, b"."),
                *(OpenDirectory(directory, name.encode()) for name, directory in self.preopens.items()),
            ),
        )
        self.copied = 0
        # The arguments of a `poll_oneoff` that has raised `Sleep`, and when it was first called.
        self.polling: tuple[tuple[int, ...], int] | None = None
        self._random: Callable[[int], bytes] | None = None

    @property
    def moved(self) -> int:
        """Bytes that the guest's calls have cost; only ever grows."""
        return self.copied + self.tree.work

    @property
    def stdout(self) -> bytearray:
        """What was kept of standard output."""
        return self.streams[1].kept

    @property
    def stderr(self) -> bytearray:
        """What was kept of standard error."""
        return self.streams[2].kept

    @property
    def stdout_truncated(self) -> bool:
        """Whether more was written to standard output than was kept."""
        return self.streams[1].truncated

    @property
    def stderr_truncated(self) -> bool:
        """Whether more was written to standard error than was kept."""
        return self.streams[2].truncated

    def random(self, count: int) -> bytes:
        """Return random bytes; with `deterministic` the same ones each time."""
        if self._random is None:
            self._random = environment.seeded_bytes() if self.deterministic else environment.random_bytes()
        return self._random(count)

    def collect(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the files with these names, by name; one that is not there, or is no file, is left out."""
        found = {}
        for name in names:
            try:
                place = self.tree.find(self.tree.root, name.encode().lstrip(b"/"), follow=True)
            except (Failed, UnicodeEncodeError):
                continue
            if isinstance(place.node, File) and not place.slashed:
                found[name] = bytes(place.node.content)
        return found

    def _place(self, name: str, content: bytes) -> None:
        """Put one of the job's own files where its name says, with the directories on the way."""
        path = _text("a file name", name).lstrip(b"/")
        parts = path.split(b"/")
        directory: Directory = self.tree.root
        try:
            for part in parts[:-1]:
                place = self.tree.find(directory, part or b".", follow=False)
                below = self.tree.make_directory(place) if place.node is None else place.node
                if not isinstance(below, Directory):
                    raise ValueError(f"file {name!r}: {part.decode()!r} is a file as well")
                directory = below
            self.tree.make_file(self.tree.find(directory, parts[-1], follow=False), content)
        except Failed as failed:
            raise ValueError(f"file {name!r} cannot be placed: {failed}") from None


def _text(what: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if b"\0" in data:
        raise ValueError(f"{what} contains a NUL byte: {value!r}")
    return data


def _variable(name: str, value: str) -> bytes:
    if not name or "=" in name:
        raise ValueError(f'an environment variable needs a name without "=", got {name!r}')
    return _text("an environment variable", f"{name}={value}")
