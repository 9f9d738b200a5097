"""Pipecat, called as our own server is: `python -m benchmarks.peers.pipecat`."""
