"""Python's garbage collector, for a server that leaves it next to nothing to collect.

A session, a call or a connection that has ended is gone at once, also where an engine or a client
failed (tests/server/test_gone.py); the collector is there for what libraries tie into rings, and
tracebacks that are logged with their locals. It looks through every object there is, on the event
loop's thread: with the engines' libraries loaded that took 65 ms, in which nobody was heard or
answered, and with 200 people talking 150 (docs/decisions/0010-the-edge.md).
"""

import gc

EVERY = (5_000, 10, 2)
"""Python's are 700, 10 and 10: new objects until the youngest are looked through, and how often
until those that outlasted it are. Ten looks a second took a fiftieth of a busy server's time. All
that is not frozen is looked through half as often as Python would: were something to tie rings
after all, twice as much would wait for that."""


def freeze() -> None:
    """What is there now is not looked through again. Engines that are unloaded or replaced later
    are gone all the same, for none of them ties a ring."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*EVERY)
