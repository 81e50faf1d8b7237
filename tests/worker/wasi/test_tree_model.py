"""The file system against a model that is too simple to be wrong: a dictionary of paths."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wasmq_worker.wasi.nodes import Directory, Node
from wasmq_worker.wasi.rights import FileType

from .guest import Guest, Refused

QUOTA = 60
ENTRIES = 12
names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.binary(max_size=25)


class Content:
    """A file's bytes, shared by all its names."""

    def __init__(self) -> None:
        self.data = b""


class TreeAgainstModel(RuleBasedStateMachine):
    """A directory is None in the model, a symbolic link its target, a file its content."""

    def __init__(self) -> None:
        super().__init__()
        self.guest = Guest(quota=QUOTA, max_entries=ENTRIES)
        self.model: dict[str, Content | str | None] = {}
        self.open: list[tuple[int, Content]] = []

    def is_directory(self, path: str) -> bool:
        return path == "" or (path in self.model and self.model[path] is None)

    def parent_is_there(self, path: str) -> bool:
        return self.is_directory(path.rpartition("/")[0])

    def below(self, path: str) -> list[str]:
        return [each for each in self.model if each.startswith(f"{path}/")]

    def has_room(self, path: str) -> bool:
        return path not in self.model and self.parent_is_there(path) and len(self.model) < ENTRIES

    def size(self) -> int:
        kept = {id(each): len(each.data) for each in self.model.values() if isinstance(each, Content)}
        kept |= {id(each): len(each.data) for _, each in self.open}
        return sum(kept.values()) + sum(len(each) for each in self.model.values() if isinstance(each, str))

    def happens(self, expected: bool, name: str, *args: object) -> None:
        """Do something as the guest, and check that it is refused when it should be."""
        error = None
        try:
            getattr(self.guest, name)(*args)
        except Refused as caught:
            error = caught
        assert (error is None) is expected, (name, args, error)

    @rule(path=paths)
    def mkdir(self, path: str) -> None:
        possible = self.has_room(path)
        self.happens(possible, "mkdir", path)
        if possible:
            self.model[path] = None

    @rule(path=paths)
    def rmdir(self, path: str) -> None:
        possible = path in self.model and self.is_directory(path) and not self.below(path)
        self.happens(possible, "rmdir", path)
        if possible:
            del self.model[path]

    @precondition(lambda self: len(self.open) < 5)
    @rule(path=paths)
    def open_file(self, path: str) -> None:
        there = self.model.get(path)
        if self.has_room(path):
            there = self.model[path] = Content()
        if isinstance(there, Content):
            self.open.append((self.guest.open(path, "c"), there))
        else:
            self.happens(False, "open", path, "c")

    @precondition(lambda self: self.open)
    @rule(data=st.data(), text=contents, position=st.integers(0, 30))
    def write(self, data: st.DataObject, text: bytes, position: int) -> None:
        fd, file = data.draw(st.sampled_from(self.open))
        most = max(len(file.data), len(file.data) + QUOTA - self.size())
        count = max(0, min(len(text), most - position))
        if text and not count:
            self.happens(False, "write", fd, text, position)
            return
        assert self.guest.write(fd, text, position) == count
        if count:
            old = file.data.ljust(position, b"\0")
            file.data = old[:position] + text[:count] + old[position + count :]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, QUOTA + 5))
    def resize(self, data: st.DataObject, size: int) -> None:
        fd, file = data.draw(st.sampled_from(self.open))
        possible = self.size() - len(file.data) + size <= QUOTA or size <= len(file.data)
        self.happens(possible, "call", "fd_filestat_set_size", fd, size)
        if possible:
            file.data = file.data[:size].ljust(size, b"\0")

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.open) - 1))
        fd, _ = self.open.pop(index)
        self.guest.close(fd)

    @rule(path=paths)
    def unlink(self, path: str) -> None:
        possible = self.model.get(path) is not None
        self.happens(possible, "unlink", path)
        if possible:
            del self.model[path]

    @rule(path=paths, text=st.sampled_from(["x", "nowhere/at/all"]))
    def symlink(self, path: str, text: str) -> None:
        possible = self.has_room(path) and self.size() + len(text) <= QUOTA
        self.happens(possible, "symlink", text, path)
        if possible:
            self.model[path] = text

    @rule(old=paths, new=paths)
    def link(self, old: str, new: str) -> None:
        there = self.model.get(old)
        possible = isinstance(there, Content) and self.has_room(new)
        # A symbolic link with two names counts once, which this model could not tell.
        if not isinstance(there, str):
            self.happens(possible, "link", old, new)
        if possible:
            self.model[new] = there

    @rule(old=paths, new=paths)
    def rename(self, old: str, new: str) -> None:
        possible = old in self.model and self.parent_is_there(new) and not new.startswith(f"{old}/")
        if possible and old != new and new in self.model:
            same_kind = self.is_directory(old) == self.is_directory(new)
            possible = same_kind and not self.below(new)
        self.happens(possible, "rename", old, new)
        there = self.model.get(old)
        if not possible or old == new or (isinstance(there, Content) and self.model.get(new) is there):
            return
        self.model.pop(new, None)
        for each in [old, *self.below(old)]:
            self.model[new + each[len(old) :]] = self.model.pop(each)

    @invariant()
    def holds_the_same(self) -> None:
        """The same names are of the same kind and have the same content, open files too."""
        found: dict[str, Node] = {}

        def walk(directory: Directory, prefix: str) -> None:
            for name, (_, node) in directory.entries.items():
                found[prefix + name.decode()] = node
                if isinstance(node, Directory):
                    assert node.parent is directory
                    walk(node, f"{prefix}{name.decode()}/")

        walk(self.guest.world.tree.root, "")
        assert found.keys() == self.model.keys()
        for path, there in self.model.items():
            match there:
                case None:
                    assert found[path].type == FileType.DIRECTORY
                case str():
                    assert self.guest.readlink(path).decode() == there
                case Content():
                    assert self.guest.contents(path) == there.data
        for fd, file in self.open:
            assert self.guest.read(fd, 1000, 0) == file.data

    @invariant()
    def counts_right(self) -> None:
        """The counters say what is there, and are within what is allowed."""
        tree = self.guest.world.tree
        assert tree.size == self.size() <= QUOTA
        assert tree.entries == len(self.model) <= ENTRIES


TestTree = TreeAgainstModel.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
