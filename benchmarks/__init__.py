"""wasmq side by side with its peers, measured in one run.

`python -m benchmarks` measures everything and prints one table; each script here also runs alone, such as
`python benchmarks/worker.py --rounds 3`. They need the editable install that `make bench` makes.
"""
