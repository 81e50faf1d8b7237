"""The licences of what is installed where wasmq runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from types import SimpleNamespace

import pytest

from requirements.licences import is_allowed, licence_of, listed, table
from requirements.lock import read, runtime


def test_every_locked_package_is_listed_in_its_version():
    """LICENCES.md is of this lock: `make licences` writes it anew."""
    assert {name: version for name, (version, _) in listed().items()} == {each.name: each.version for each in runtime()}


def test_every_licence_is_one_of_those_allowed():
    """A package under another one needs a decision before it is depended on."""
    assert {name: licence for name, (_, licence) in listed().items() if not is_allowed(licence)} == {}


def test_what_is_installed_here_says_so_itself():
    """The list was not written by hand: each package that is here in the locked version has the licence listed."""
    looked_at = 0
    for name, (version, licence) in listed().items():
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if package.version == version:
            looked_at += 1
            assert licence_of(package) == licence, name
    assert looked_at


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("(MIT)", False),
        ("", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH another-exception", False),
    ],
)
def test_an_expression_is_allowed_when_all_that_it_asks_for_is(expression, allowed):
    """A choice needs one licence that is allowed, a sum all of them; what is not understood is not allowed."""
    assert is_allowed(expression) == allowed


class About(dict):
    """What a package says of itself."""

    def get_all(self, name, failobj=None):
        """Return each of the values."""
        return [value for key, value in self.items() if key == name] or failobj


def package(*texts, **about):
    """Return a package with these files of licences."""
    files = [SimpleNamespace(name="LICENSE", read_text=lambda text=text: text) for text in texts]
    metadata = About({name.replace("_", "-"): value for name, value in about.items()})
    return SimpleNamespace(name="odd", version="1", files=files, metadata=metadata)


MIT = "Permission is hereby granted, free of\ncharge, to any person obtaining a copy"
BSD = "Redistributions of source code must retain the above\n  copyright notice"


@pytest.mark.parametrize(
    ("given", "licence"),
    [
        (package(License_Expression="GPL-3.0-only", License="MIT"), "GPL-3.0-only"),
        (package(License="MIT License"), "MIT"),
        (package(BSD), "BSD-2-Clause"),
        (package(BSD + "\nNeither the name of"), "BSD-3-Clause"),
        (package(BSD, MIT), "BSD-2-Clause AND MIT"),
        (package(Classifier="License :: OSI Approved :: MIT License"), "MIT"),
    ],
)
def test_a_licence_is_what_a_package_says(given, licence):
    """The expression counts before everything else; then the field, the text, and the classifier."""
    assert licence_of(given) == licence


@pytest.mark.parametrize("given", [package(), package("All rights reserved"), package(License="Proprietary")])
def test_a_licence_that_is_not_to_be_told_is_an_error(given):
    """It names the package, and nothing is guessed."""
    with pytest.raises(ValueError, match="odd: its licence is not to be told"):
        licence_of(given)


def test_a_package_that_is_missing_is_named(tmp_path):
    """The list is written whole or not at all."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"odd==1 \\\n    --hash=sha256:{'0' * 64}\n    # via wasmq\n")
    locked = list(read(lock).values())
    assert table(locked, {"odd": package(License="MIT")}).endswith("| odd | 1 | MIT |\n")
    with pytest.raises(ValueError, match="odd 1 is not installed there"):
        table(locked, {})
    lock.write_text("odd>=1\n")
    with pytest.raises(ValueError, match="not a line of a lock"):
        read(lock)
