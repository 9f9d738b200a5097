"""Entry point; see run.py."""

import sys

from benchmarks.peers.fastkokoro.run import main

if __name__ == "__main__":
    sys.exit(main())
