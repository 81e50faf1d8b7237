"""The licences of what is installed where wasmq runs: LICENCES.md, from what the locked packages say of themselves."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions

from requirements.lock import HERE, Locked, runtime

LIST = HERE / "LICENCES.md"
ALLOWED = frozenset(
    {
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "MIT",
        "MPL-2.0",  # asks for the sources of its own files when they were changed, and we change none
        "PSF-2.0",
    }
)
"""SPDX identifiers of licences that ask for nothing of who uses wasmq but to be passed on."""

_WORDS = {"MIT License": "MIT"}
_CLASSIFIERS = {"License :: OSI Approved :: MIT License": "MIT"}
_ROW = re.compile(r"\| (?P<name>[a-z0-9-]+) \| (?P<version>\d\S*) \| (?P<licence>.+) \|")
_HEAD = """# Licences

What wasmq and its extras install, and the licence of each in the words of SPDX. `make licences` writes it.

| package | version | licence |
|---|---|---|
"""


def is_allowed(expression: str) -> bool:
    """Return whether an SPDX expression asks for nothing but allowed licences, or leaves the choice of one."""
    return all(
        any(choice.strip() in ALLOWED for choice in part.split(" OR ")) for part in expression.strip().split(" AND ")
    )


def listed() -> dict[str, tuple[str, str]]:
    """Return version and licence by package, as LICENCES.md has them."""
    rows = [_ROW.fullmatch(line) for line in LIST.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: (row["version"], row["licence"]) for row in rows if row is not None}


def licence_of(package: Distribution) -> str:
    """Return what a package says of its licence, as an SPDX expression. Raises `ValueError` when it is not to be told.

    That is its `License-Expression` or, where it was made before there was one, what else says it without a doubt.
    """
    about = package.metadata
    if expression := about.get("License-Expression"):
        return expression
    said = (about.get("License") or "").strip()
    if said in ALLOWED or is_allowed(said):
        return said
    if said in _WORDS:
        return _WORDS[said]
    texts = [
        said,
        *(file.read_text() for file in package.files or () if re.search(r"(?i)licen[cs]e|copying", file.name)),
    ]
    if found := {licence for text in texts if (licence := _recognised(text)) is not None}:
        return " AND ".join(sorted(found))
    if found := {_CLASSIFIERS[each] for each in about.get_all("Classifier", []) if each in _CLASSIFIERS}:
        return " AND ".join(sorted(found))
    raise ValueError(f"{package.name}: its licence is not to be told from {said[:60]!r}")


def _recognised(text: str) -> str | None:
    """Return which of the short licences a text is, by the words that only that one has."""
    words = " ".join(text.split())
    if "Permission is hereby granted, free of charge, to any person obtaining a copy" in words:
        return "MIT"
    if "Redistributions of source code must retain the above copyright notice" in words:
        return "BSD-3-Clause" if re.search(r"(?i)neither the name", words) else "BSD-2-Clause"
    return None


def table(locked: list[Locked], packages: dict[str, Distribution]) -> str:
    """Return LICENCES.md. Raises `ValueError` when a package is missing or says nothing of its licence."""
    rows = []
    for each in locked:
        package = packages.get(each.name)
        if package is None or package.version != each.version:
            raise ValueError(f"{each.name} {each.version} is not installed there: make licences")
        rows.append(f"| {each.name} | {each.version} | {licence_of(package)} |\n")
    return _HEAD + "".join(rows)


def main() -> None:
    """Write LICENCES.md by the packages in a directory."""
    found = {re.sub(r"[._-]+", "-", each.name).lower(): each for each in distributions(path=[sys.argv[1]])}
    try:
        text = table(runtime(), found)
    except ValueError as error:
        raise SystemExit(f"licences: {error}") from None
    LIST.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
