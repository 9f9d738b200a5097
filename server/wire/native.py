"""The native protocol, `antiphon.v1`: JSON and PCM <-> Commands and Events. Pure.

What comes in is read in `native_in.py`, what goes out is written in `native_out.py`.
"""

from __future__ import annotations

from server.wire.native_in import Hello as Hello
from server.wire.native_in import decode as decode
from server.wire.native_in import ref_of as ref_of
from server.wire.native_out import RAW as RAW
from server.wire.native_out import UNTOLD as UNTOLD
from server.wire.native_out import encode as encode
from server.wire.native_out import frames as frames

SUBPROTOCOL = "antiphon.v1"
