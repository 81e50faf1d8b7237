"""What may be given to jobs: the machine's memory, or less where a control group says so."""

import pytest

from wasmq.machine import GIVEN, memory_given, memory_limit

GIB = 2**30


def make(root, files):
    """Files below a directory that stands for the machine's own."""
    for name, text in {"proc/meminfo": "MemFree: 7 kB\nMemTotal:       8388608 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 8 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 8 * GIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": f"{2 * GIB}\n",
            },
            2 * GIB,
        ),
        ({"proc/self/cgroup": "0::/host/path\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory,hugetlb:/docker/1\n0::/\n",
                "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": f"{GIB}\n",
                "sys/fs/cgroup/cpu/x/memory.limit_in_bytes": "1\n",
            },
            GIB,
        ),
        (
            {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"},
            8 * GIB,
        ),
        ({"proc/self/cgroup": "nonsense\n4:memory\n\n"}, 8 * GIB),
    ],
)
def test_the_tightest_limit_counts(tmp_path, files, limit):
    """One's own, that of a group above, or what there is at all; what cannot be read counts for nothing."""
    assert memory_limit(make(tmp_path, files)) == limit


def test_a_machine_that_does_not_say(tmp_path):
    """Without /proc there is a number all the same."""
    assert memory_limit(tmp_path) == GIB


def test_what_is_configured_is_what_is_given():
    """Else it is a share of what there is."""
    assert memory_given(12_345) == 12_345
    assert memory_given(None) == int(memory_limit() * GIVEN)
