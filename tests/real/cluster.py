"""A real Kubernetes cluster on this machine, for the tests and for trying things by hand.

    python tests/real/cluster.py start [--name N] [--operator training|mpi|none] [--node] [--nodes 3] [--crds FOLDER]
    python tests/real/cluster.py stop [--name N | --all]
    python tests/real/cluster.py status | kubeconfig | build

``start`` builds what is missing (minutes, once), starts the cluster (seconds) and prints its kubeconfig; ``stop`` ends
it and leaves nothing behind. Clusters of different names run side by side. Everything listens on loopback.
"""

import sys

from bed.commands import main

if __name__ == "__main__":
    sys.exit(main())
