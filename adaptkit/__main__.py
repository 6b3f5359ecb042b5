"""`python -m adaptkit` is `adaptkit`."""

from __future__ import annotations

import sys

from adaptkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
