"""Entry point; see run.py."""

import sys

from benchmarks.peers.pipecat.run import main

if __name__ == "__main__":
    sys.exit(main())
