"""The filter's program means what the rules say, on every architecture: checked by a machine of our own."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq_worker.sandbox import seccomp
from wasmq_worker.sandbox.bpf import ALLOW, ALWAYS, AUDIT_ARCH, KILL, Bits, Rule, assemble, never, only, refuse
from wasmq_worker.sandbox.numbers import NUMBERS

MACHINES = sorted(AUDIT_ARCH)
PROCESS = 4711
words = st.integers(0, 2**64 - 1)
halves = st.integers(0, 2**32 - 1)
bits = st.builds(
    lambda argument, mask, wanted: Bits(argument, mask, wanted & mask),
    st.integers(0, 5),
    st.sampled_from([1, 6, 0xFF]),
    halves,
)
rules = st.one_of(
    st.just(ALWAYS),
    st.builds(never, st.integers(1, 133)),
    st.builds(
        lambda cases, code: Rule(tuple(map(tuple, cases)), refuse(code)),
        st.lists(st.lists(bits, min_size=1, max_size=3), min_size=1, max_size=3),
        st.integers(1, 133),
    ),
)


def run(program: bytes, arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """Return what a program of the kernel's classic machine does about a system call."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program))
    place, held = 0, 0
    while True:
        operation, then, otherwise, k = code[place]
        place += 1
        match operation:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, k)
            case 0x54:
                held &= k
            case 0x15:
                place += then if held == k else otherwise
            case 0x35:
                place += then if held >= k else otherwise
            case 0x06:
                return k
            case _:
                raise AssertionError(f"operation {operation:#x}")


def verdict(rule: Rule | None, arguments: tuple[int, ...]) -> int:
    """Return what a rule says, read from the rule itself."""
    if rule is None:
        return KILL
    for case in rule.cases:
        if all(arguments[each.argument] & each.mask == each.wanted for each in case):
            return ALLOW
    return rule.refusal


@pytest.mark.parametrize("machine", MACHINES)
@given(
    listed=st.dictionaries(st.integers(0, 400), rules, max_size=20),
    number=st.integers(0, 400),
    arguments=st.tuples(*[words] * 6),
)
def test_a_program_does_what_its_rules_say(
    machine: str, listed: dict[int, Rule], number: int, arguments: tuple[int, ...]
) -> None:
    """For any rules and any call: allowed, refused or the end, as the rules read."""
    program = assemble(machine, listed)
    for wanted in {number, *list(listed)[:3]}:
        assert run(program, AUDIT_ARCH[machine], wanted, arguments) == verdict(listed.get(wanted), arguments)


@pytest.mark.parametrize("machine", MACHINES)
@given(arch=halves, number=st.sampled_from([0, 1, 3, 63, 64]))
def test_calls_of_another_architecture_are_the_end(machine: str, arch: int, number: int) -> None:
    """Whatever a number means in another table, it does not come to that."""
    program = assemble(machine, dict.fromkeys(range(100), ALWAYS))
    assert (run(program, arch, number, (0,) * 6) == ALLOW) == (arch == AUDIT_ARCH[machine])


@given(number=st.integers(2**30, 2**32 - 1))
def test_numbers_of_x32_are_the_end(number: int) -> None:
    """The third table of x86-64 shares its architecture, and is told by its numbers."""
    program = assemble("x86_64", dict.fromkeys(range(100), ALWAYS))
    assert run(program, AUDIT_ARCH["x86_64"], number, (0,) * 6) == KILL


DANGEROUS = {
    "x86_64": {
        "socket": 41,
        "connect": 42,
        "sendmsg": 46,
        "fork": 57,
        "vfork": 58,
        "execve": 59,
        "kill": 62,
        "ptrace": 101,
        "open": 2,
        "unlink": 87,
        "setuid": 105,
        "mount": 165,
        "tkill": 200,
        "unshare": 272,
        "setns": 308,
        "process_vm_readv": 310,
        "bpf": 321,
        "execveat": 322,
        "userfaultfd": 323,
        "io_uring_setup": 425,
    },
    "aarch64": {
        "socket": 198,
        "connect": 203,
        "sendmsg": 211,
        "execve": 221,
        "kill": 129,
        "ptrace": 117,
        "unlinkat": 35,
        "setuid": 146,
        "mount": 40,
        "tkill": 130,
        "unshare": 97,
        "setns": 268,
        "process_vm_readv": 270,
        "bpf": 280,
        "execveat": 281,
        "userfaultfd": 282,
        "io_uring_setup": 425,
    },
}


def program_of(machine: str, role: seccomp.Role, *, machine_code: bool = True) -> bytes:
    """Return the program that a process gets on an architecture."""
    numbers = NUMBERS[machine]
    listed = seccomp.rules(role, machine_code=machine_code, process=PROCESS)
    return assemble(machine, {numbers[name]: rule for name, rule in listed.items() if name in numbers})


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("role", ["worker", "compiler", "compilation"])
def test_dangerous_calls_are_the_end_on_every_architecture(machine: str, role: seccomp.Role) -> None:
    """Also where these tests do not run: by the numbers of that architecture's own table."""
    program = program_of(machine, role)
    for name, number in DANGEROUS[machine].items():
        assert run(program, AUDIT_ARCH[machine], number, (0,) * 6) == KILL, name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("role", ["worker", "compiler", "compilation"])
@given(protection=st.integers(0, 15), flags=halves)
def test_memory_is_private_and_never_both_written_and_run(
    machine: str, role: seccomp.Role, protection: int, flags: int
) -> None:
    """Of mmap and mprotect only what is private, and not writable code; without machine code, no code at all."""
    numbers = NUMBERS[machine]
    for machine_code in (True, False):
        program = program_of(machine, role, machine_code=machine_code)
        code, write = bool(protection & 4), bool(protection & 2)
        fine = not (code and write) and (machine_code or not code)
        mprotect = run(program, AUDIT_ARCH[machine], numbers["mprotect"], (0, 0, protection, 0, 0, 0))
        mmap = run(program, AUDIT_ARCH[machine], numbers["mmap"], (0, 0, protection, flags, 0, 0))
        assert (mprotect == ALLOW) == fine
        assert (mmap == ALLOW) == (fine and flags & 0xF == 2)


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=words)
def test_no_process_is_ever_made_by_a_worker_or_a_compilation(machine: str, flags: int) -> None:
    """A worker makes nothing; a compilation makes threads, which share all with it and are in no new namespace."""
    clone = NUMBERS[machine]["clone"]
    for role in ("worker", "compilation"):
        allowed = run(program_of(machine, role), AUDIT_ARCH[machine], clone, (flags, 0, 0, 0, 0, 0)) == ALLOW  # type: ignore[arg-type]
        assert not allowed or (role == "compilation" and flags & 0xFFFF_FFFF & ~0x40_0000 == 0x3D_0F00)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_process_can_end_itself_and_nobody_else(machine: str) -> None:
    """What aborts sends itself a signal; the same call to any other process is the end."""
    program, tgkill = program_of(machine, "worker"), NUMBERS[machine]["tgkill"]
    assert run(program, AUDIT_ARCH[machine], tgkill, (PROCESS, PROCESS, 6, 0, 0, 0)) == ALLOW
    assert run(program, AUDIT_ARCH[machine], tgkill, (1, 1, 9, 0, 0, 0)) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=halves)
def test_files_are_opened_to_read_only(machine: str, flags: int) -> None:
    """Whatever else is asked for: not for writing, not to be created, cut or appended to."""
    program, openat = program_of(machine, "worker"), NUMBERS[machine]["openat"]
    if run(program, AUDIT_ARCH[machine], openat, (0, 0, flags, 0, 0, 0)) == ALLOW:
        assert not flags & (0o3 | 0o100 | 0o1000 | 0o2000 | 0o10000000)


def test_only_is_one_case() -> None:
    """A rule of one case allows just that, and ends the process otherwise."""
    rule = only(Bits(0, 0xFF, 7))
    assert (verdict(rule, (7,)), verdict(rule, (8,))) == (ALLOW, KILL)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("role", ["worker", "compilation"])
@given(option=st.one_of(st.integers(0, 80), halves))
def test_a_process_gives_names_and_changes_nothing_else_of_itself(
    machine: str, role: seccomp.Role, option: int
) -> None:
    """Of prctl only the names of threads and mappings: neither dumpable again, nor outliving the parent."""
    prctl = NUMBERS[machine]["prctl"]
    allowed = run(program_of(machine, role), AUDIT_ARCH[machine], prctl, (option, 0, 0, 0, 0, 0)) == ALLOW
    assert allowed == (option in (15, 0x5356_4D41))
