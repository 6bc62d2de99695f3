"""The command line of the real cluster (``python tests/real/cluster.py --help``)."""

import sys

from bed.commands import main

if __name__ == "__main__":
    sys.exit(main())
