"""WASI preview 1 over files that exist only in memory.

A job sees its arguments, its environment, its standard input and the files that came with it, and nothing of this
machine. No function waits: one that would raises `Sleep`. All work is counted in `World.moved`, to be paid in fuel.
"""

from wasmq_worker.wasi.preview1 import FUNCTIONS
from wasmq_worker.wasi.signals import Exit, Sleep, Violated
from wasmq_worker.wasi.world import World

__all__ = ["FUNCTIONS", "Exit", "Sleep", "Violated", "World"]
