"""Python's garbage collector, for a server that has nothing to collect.

What ends here is gone at once (tests/server/test_gone.py); the collector is there for what
libraries and errors tie into rings. It looks through every object there is, on the event loop's
thread: with the engines' libraries loaded that took 65 ms, in which nobody was heard or answered,
and with 200 people talking 150 (docs/decisions/0010-the-edge.md).
"""

import gc

EVERY = (5_000, 20, 20)
"""Python's are 700, 10 and 10: new objects until the youngest are looked through, and how often
until those that outlasted it are. Ten looks a second took a fiftieth of a busy server's time."""


def settle() -> None:
    """What is there now stays for good: it is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*EVERY)
