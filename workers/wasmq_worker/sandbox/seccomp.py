"""The filter of system calls: what is not listed ends the process.

The lists were found by tracing the processes of all tests, and hold what these did and what C libraries do instead on
other machines. What is listed as refused is tried by honest code, which goes on without; everything else that an
honest process never does is met with its end, so that whoever got out of the engine has one guess.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from wasmq_worker.sandbox.bpf import ALWAYS, Bits, Rule, assemble, never, only, refuse
from wasmq_worker.sandbox.libc import LINUX, MACHINE, SECCOMP, Unsupported, syscall
from wasmq_worker.sandbox.numbers import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

Role: TypeAlias = Literal["worker", "compiler", "compilation"]
"""A worker; the compile process that waits; what that forks for one module."""

_SET_MODE_FILTER: Final = 1
_ALL: Final = 0xFFFF_FFFF
_PROT_WRITE: Final = 2
_PROT_EXEC: Final = 4
_MAP_TYPE: Final = 0xF
_MAP_PRIVATE: Final = 2
_NOT_TO_READ: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_PATH", 0)
"""To write, or to have a handle on what may not be read."""
_AT_EMPTY_PATH: Final = 0x1000
_THREAD: Final = 0x003D_0F00
"""How C libraries make a thread: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, and where its number is put and
cleared. Without these it would be a process, with more a namespace."""
_DETACHED: Final = 0x0040_0000  # means nothing to the kernel; musl sets it
_FORK: Final = 0x0120_0011  # CHILD_SETTID, CHILD_CLEARTID, SIGCHLD
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_VMA: Final = 0x5356_4D41
_F_GETFL: Final = 3
_F_SETFL: Final = 4

_EVERYBODY: Final = (
    *("recvfrom", "sendto", "poll", "ppoll", "read", "write", "close", "lseek", "pread64", "fstat"),
    *("madvise", "munmap", "mremap", "brk", "futex", "getrandom", "sched_yield", "sched_getaffinity", "getcpu"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday", "time", "getpid", "gettid"),
    *("rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "rseq", "set_robust_list"),
    *("exit", "exit_group", "writev"),
    # On aarch64 the engine has every core forget what it knows of code that has changed.
    "membarrier",
)
_REFUSED: Final = {
    # Python asks whether stderr is a terminal before it writes why it ends, and looks for the source to show.
    "ioctl": never(errno.ENOTTY),
    "fcntl": never(errno.EPERM),
    "readlink": never(errno.EPERM),
    "readlinkat": never(errno.EPERM),
    "prlimit64": never(errno.EPERM),
    # Sorting asks some C libraries how much memory there is, others look what kernel this is.
    "sysinfo": never(errno.EPERM),
    "uname": never(errno.EPERM),
    # Its flags lie in memory, where a filter cannot look; C libraries then take clone, whose flags it sees.
    "clone3": never(errno.ENOSYS),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(role: Role, *, machine_code: bool) -> str:
    """Filter this process's system calls from now on. `machine_code` is whether it makes code that the processor runs.

    It must have given up new privileges. Raises `OSError`.
    """
    if not LINUX or MACHINE not in NUMBERS:
        raise Unsupported(f"seccomp: there is no list for this system ({MACHINE})")
    numbers = NUMBERS[MACHINE]
    listed = rules(role, machine_code=machine_code, process=os.getpid())
    code = assemble(MACHINE, {numbers[name]: rule for name, rule in listed.items() if name in numbers})
    program = _Program(len(code) // 8, code)
    syscall("seccomp", SECCOMP[MACHINE], _SET_MODE_FILTER, 0, ctypes.byref(program))
    return f"{len(listed)} calls listed, the rest ends the process"


def rules(role: Role, *, machine_code: bool, process: int) -> Mapping[str, Rule]:
    """Return what a process may call, by name; `process` is its number."""
    listed: dict[str, Rule] = dict.fromkeys(_EVERYBODY, ALWAYS) | _REFUSED
    listed["mmap"], listed["mprotect"] = _memory(machine_code)
    # Allocators and threads give what they make a name.
    names = ((Bits(0, _ALL, _PR_SET_NAME),), (Bits(0, _ALL, _PR_SET_VMA),))
    listed["prctl"] = Rule(names)
    # What aborts ends itself, and nobody else.
    listed["tgkill"] = only(Bits(0, _ALL, process))
    if role == "worker":
        listed |= {
            "openat": only(Bits(2, _NOT_TO_READ)),
            "newfstatat": only(Bits(3, _AT_EMPTY_PATH, _AT_EMPTY_PATH), refusal=refuse(errno.EPERM)),
            "statx": only(Bits(2, _AT_EMPTY_PATH, _AT_EMPTY_PATH), refusal=refuse(errno.EPERM)),
        }
        return listed
    # A compiler opens nothing; it looks in vain for how many processors its cgroup gives it.
    listed |= dict.fromkeys(("openat", "newfstatat", "statx"), never(errno.EACCES))
    listed |= {
        "rt_sigaction": ALWAYS,
        "fcntl": Rule(((Bits(1, _ALL, _F_GETFL),), (Bits(1, _ALL, _F_SETFL),)), refuse(errno.EPERM)),
        "clone": only(Bits(0, _ALL & ~_DETACHED, _THREAD)),
    }
    if role == "compiler":
        threads = listed["clone"].cases
        listed |= {
            "clone": Rule((*threads, (Bits(0, _ALL, _FORK),))),
            "recvmsg": ALWAYS,
            "getsockname": ALWAYS,  # Python looks at every descriptor that becomes a socket
            # What a child does to itself before it reads a module.
            "prctl": Rule((*names, (Bits(0, _ALL, _PR_SET_PDEATHSIG),))),
            "prlimit64": only(Bits(0, _ALL, 0)),
            "fcntl": ALWAYS,
            "seccomp": ALWAYS,
            "getppid": ALWAYS,
            "getpriority": ALWAYS,
            "setpriority": ALWAYS,
            "setitimer": ALWAYS,
            # Its children have other numbers.
            "tgkill": ALWAYS,
        }
    return listed


def _memory(machine_code: bool) -> tuple[Rule, Rule]:
    """Return the rules for mmap and mprotect: never writable code, never shared memory, and without machine code none.

    Refusals are errnos: a C library that is refused code of its own making reports it as lack of memory.
    """
    plain = Bits(2, _PROT_EXEC)
    fixed = Bits(2, _PROT_WRITE)
    private = Bits(3, _MAP_TYPE, _MAP_PRIVATE)
    protections = (plain, fixed) if machine_code else (plain,)
    refusal = refuse(errno.EPERM)
    return (
        Rule(tuple((each, private) for each in protections), refusal),
        Rule(tuple((each,) for each in protections), refusal),
    )
