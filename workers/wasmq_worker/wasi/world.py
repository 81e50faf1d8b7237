"""What one job sees of the world."""

from __future__ import annotations

from types import MappingProxyType
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

    Every guest finds the root of its files preopened as "/" and as ".", its first two directories. `dirs` names
    directories that are preopened after them under names of their own, True for those in which nothing may be changed.

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
        dirs: Mapping[str, bool] = MappingProxyType({}),
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
        preopened = [(name, self._directory(name)) for name in dirs]
        for (_, directory), read_only in zip(preopened, dirs.values(), strict=True):
            if read_only:
                self.tree.freeze(directory)
        self.tree.work = 0
        allowance = Allowance(output_cap)
        self.streams = (Input(stdin), Output(allowance), Output(allowance))
        self.preopens: dict[str, Directory] = {**dict(preopened), "/": self.tree.root}
        self.descriptors = Table(
            self.tree,
            (
                *self.streams,
                # The first one is the working directory, to Go by its name (which must be absolute) and to Zig by its
                # number. wasi-libc takes the one with the longest name that fits, and knows no difference between
                # these two; others look for "." by its name.
                OpenDirectory(self.tree.root, b"/"),
                OpenDirectory(self.tree.root, b"."),
                *[OpenDirectory(directory, name.encode()) for name, directory in preopened],
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
        """Return the files with these names, by name; one that is not there, or is no file, is left out.

        A name that ends in "/" stands for all files below that directory, whose names follow it.
        """
        found: dict[str, bytes] = {}
        for name in names:
            try:
                path = name.encode().lstrip(b"/")
                place = self.tree.find(self.tree.root, path or b".", follow=True)
            except (Failed, UnicodeEncodeError):
                continue
            if isinstance(place.node, File) and not place.slashed:
                found[name] = bytes(place.node.content)
            elif isinstance(place.node, Directory) and name.endswith("/"):
                self._collect_below(place.node, name, found)
        return found

    def _collect_below(self, directory: Directory, prefix: str, found: dict[str, bytes]) -> None:
        below = [(prefix, directory)]
        while below:
            prefix, directory = below.pop()
            for name, (_, node) in directory.entries.items():
                path = prefix + name.decode("utf-8", "replace")
                if isinstance(node, File):
                    found[path] = bytes(node.content)
                elif isinstance(node, Directory):
                    below.append((path + "/", node))

    def _place(self, name: str, content: bytes) -> None:
        """Put one of the job's own files where its name says, with the directories on the way.

        A name that ends in "/" is a directory, with nothing in it yet.
        """
        if name.endswith("/"):
            self._directory(name)
            return
        above, _, last = _text("a file name", name).lstrip(b"/").rpartition(b"/")
        try:
            directory = self._reach(name, above)
            self.tree.make_file(self.tree.find(directory, last, follow=False), content)
        except Failed as failed:
            raise ValueError(f"file {name!r} cannot be placed: {failed}") from None

    def _directory(self, name: str) -> Directory:
        """Return a directory by its name, made if it is not there yet."""
        try:
            return self._reach(name, _text("a directory name", name).strip(b"/"))
        except Failed as failed:
            raise ValueError(f"directory {name!r} cannot be made: {failed}") from None

    def _reach(self, name: str, path: bytes) -> Directory:
        directory: Directory = self.tree.root
        for part in path.split(b"/") if path else ():
            place = self.tree.find(directory, part or b".", follow=False)
            below = self.tree.make_directory(place) if place.node is None else place.node
            if not isinstance(below, Directory):
                raise ValueError(f"file {name!r}: {part.decode()!r} is a file as well")
            directory = below
        return directory


def _text(what: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if b"\0" in data:
        raise ValueError(f"{what} contains a NUL byte: {value!r}")
    return data


def _variable(name: str, value: str) -> bytes:
    if not name or "=" in name:
        raise ValueError(f'an environment variable needs a name without "=", got {name!r}')
    return _text("an environment variable", f"{name}={value}")
