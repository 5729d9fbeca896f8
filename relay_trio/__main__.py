"""`python -m relay_trio` is `relay-trio`."""

from __future__ import annotations

import sys

from relay_trio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
