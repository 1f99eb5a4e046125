"""`python -m dfk` is the `dfk` command."""

import sys

from dfk.cli import main

if __name__ == "__main__":
    sys.exit(main())
