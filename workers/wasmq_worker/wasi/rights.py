"""Rights and flags of descriptors.

Rights are vestigial: newer versions of WASI have none. A descriptor reports what its type can do and may drop some of
it; what is enforced is reading, writing, and changing a file's size, as an open mode would.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

FD_READ: Final = 1 << 1
FD_WRITE: Final = 1 << 6
FD_ALLOCATE: Final = 1 << 8
PATH_FILESTAT_SET_SIZE: Final = 1 << 19
FD_FILESTAT_SET_SIZE: Final = 1 << 22

# Bits as the specification numbers them: 0 datasync, 1 read, 2 seek, 3 set flags, 4 sync, 5 tell, 6 write, 7 advise,
# 8 allocate, 9 to 13 create and link and open paths, 14 readdir, 15 to 20 paths, 21 filestat, 22 size, 23 times,
# 24 to 26 symlink and remove, 27 poll, 28 and 29 sockets.
STREAM: Final = sum(1 << bit for bit in (0, 3, 4, 21, 27))
FILE: Final = sum(1 << bit for bit in (*range(9), 21, 22, 23, 27))
DIRECTORY: Final = sum(1 << bit for bit in (3, 4, *range(9, 22), 23, 24, 25, 26))
INHERITING: Final = FILE | DIRECTORY

APPEND: Final = 1 << 0
ALL_FDFLAGS: Final = (1 << 5) - 1

CREATE: Final = 1 << 0
MUST_BE_DIRECTORY: Final = 1 << 1
EXCLUSIVE: Final = 1 << 2
TRUNCATE: Final = 1 << 3
ALL_OFLAGS: Final = (1 << 4) - 1


class FileType(IntEnum):
    """What a path or a descriptor is."""

    UNKNOWN = 0
    DIRECTORY = 3
    REGULAR_FILE = 4
    SYMBOLIC_LINK = 7
