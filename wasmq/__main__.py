"""`python -m wasmq` is `wasmq`."""

from __future__ import annotations

import sys

from wasmq.cli import main

if __name__ == "__main__":
    sys.exit(main())
