"""What native libraries read from the environment as they load: imported before all that loads one.

Each brings threads of its own, made for a machine that does one thing. On cores that are shared,
threads that spin while they wait cost more than they save (docs/decisions/0003-threads.md).
"""

import os

# numpy's small products (spectrograms, echoes): OpenBLAS's second thread spun through half the time
# of a core, at the event loop's priority.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# llama.cpp's OpenMP: threads that read a prompt together spin for microseconds, not milliseconds,
# before they sleep.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
