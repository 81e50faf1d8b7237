"""Coverage-guided fuzzing: a target a file, each a `fuzz(data)` that raises only when something that must hold breaks.

`python -m tests.fuzz TARGET` runs one for long; the tests here replay the corpora and run each target for a moment.
"""
