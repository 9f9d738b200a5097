"""What a session's inbox carries, and how a client's command is put there."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import AntiphonError
from pipeline.listening import Listening
from pipeline.signals import DropTurn, EndTurn
from pipeline.signals import Event as TurnSignal

from .inbox import Inbox
from .messages import AudioCleared, Bye, ClearAudio, Command, Commit, GoingAway, Mute, Unmute
from .orders import Order
from .saving import Lost, Reached, Stored


@dataclass(frozen=True, slots=True)
class End:
    """From outside: the session ends for this reason."""

    error: AntiphonError | None
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A fault of ours in taking a frame past the inbox, for the session's task to raise."""

    error: Exception


Mail = Broken | Order | AudioCleared | Bye | TurnSignal | GoingAway | End | Stored | Reached | Lost


async def deliver(command: Command, inbox: Inbox[Mail], listening: Listening) -> None:
    """Put a command in; waits while the inbox is full.

    The end of a turn is where the audio stands now, not when its turn in the inbox comes.
    """
    match command:
        case Commit(must, ref):
            await inbox.put(EndTurn(listening.received_to, must=must, ref=ref))
        case ClearAudio():
            await inbox.put(DropTurn(listening.settle()))
            await inbox.put(AudioCleared())
        case Mute():
            await inbox.put(EndTurn(listening.mute(), if_any=True))
        case Unmute():
            listening.unmute()
        case _:
            await inbox.put(command)
