"""``python -m jupyterlab_kf.cli``."""

import sys

from jupyterlab_kf.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
