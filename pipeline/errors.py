"""Everything that can go wrong, as one tree.

    AntiphonError
    ├── ClientError              the peer's fault; the session usually goes on
    │   ├── BadMessage           not JSON, not of the form, out of range, unknown type
    │   │   ├── TooLarge         longer than is read at all
    │   │   └── NotNow           well formed, and not possible as things stand
    │   │       ├── NothingToCommit   no turn to end
    │   │       ├── ReplyUnderWay     another reply is being given
    │   │       ├── NoReplyUnderWay   none is, to be cancelled
    │   │       └── ItemExists        an item has this id already
    │   ├── BadAudio             odd length, undecodable
    │   ├── TooMuchAudio         faster than real time for too long
    │   ├── TooManyMessages      a flood of text frames
    │   ├── SlowClient           does not read what it is sent
    │   ├── Unauthorized         no token, or a bad one
    │   ├── Forbidden            foreign origin, not an admin
    │   ├── RateLimited          a budget is used up
    │   └── NotFound             no such session, voice or model
    │       └── NoSuchItem       nor item, nor tool call
    ├── Unavailable              nobody's fault; try again later
    │   ├── AtCapacity           full, and the waiting room too
    │   ├── KeysUnreachable      who signs the tokens cannot be asked for its keys
    │   ├── PoolTimeout          waited too long for a slot or an answer
    │   │   └── Superseded       a newer request of the same owner's took its place in the queue
    │   ├── SessionsUnreachable  where sessions are kept cannot be asked
    │   ├── GoingAway            draining
    │   └── Replaced             the session was resumed elsewhere
    ├── EngineError              a model or its backend failed this one request
    │   ├── SttFailed
    │   ├── LlmFailed
    │   │   ├── LlmStalled       no token came in time
    │   │   └── PromptRefused    no backend would take this prompt: asking again is no use
    │   ├── TtsFailed
    │   │   └── Unspeakable      this text cannot be voiced: skip it, go on with the next
    │   └── GpuOutOfMemory
    ├── StoreFailed              what should be kept could not be written, or read
    │   └── StoreAway            for now: it cannot be reached
    └── StartError               the server cannot start; the message is the whole story in one line
        ├── SettingsError        a setting is wrong
        └── ModelMissing         a model file is not on disk

`server/failures.py` is the one place that maps these to codes, close codes and HTTP statuses.
"""

from __future__ import annotations


class AntiphonError(Exception):
    """Root of the tree. `str(error)` is a sentence that may be shown to the client."""

    def __init__(
        self, message: str = "", *, retry_after_s: float | None = None, param: str | None = None
    ) -> None:
        """`param`: what of a request it is about."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.param = param


class ClientError(AntiphonError):
    """The peer did something wrong."""


class BadMessage(ClientError):
    """A message that is not of the protocol's form."""


class TooLarge(BadMessage):
    """Longer than is read at all."""


class BadAudio(ClientError):
    """Audio that cannot be decoded."""


class TooMuchAudio(ClientError):
    """More audio than real time allows."""


class TooManyMessages(ClientError):
    """More text frames than a person or a program in good order would send."""


class SlowClient(ClientError):
    """The peer does not read what it is sent."""


class _Barred(ClientError):
    """Somebody may not come in; `why` is a word for it, for counting."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class Unauthorized(_Barred):
    """No token, or a bad one."""


class Forbidden(_Barred):
    """Known, but not allowed."""


class RateLimited(ClientError):
    """A budget is used up; `retry_after_s` says when to come back."""


class NotNow(BadMessage):
    """What is asked for is well formed, and not possible as things stand."""


class NothingToCommit(NotNow):
    """There is no turn to end."""


class ReplyUnderWay(NotNow):
    """Another reply is being given."""


class NoReplyUnderWay(NotNow):
    """There is no reply to cancel."""


class ItemExists(NotNow):
    """An item has this id already."""


class NotFound(ClientError):
    """No such session, voice or model."""


class NoSuchItem(NotFound):
    """No such item in the conversation, or no such call of a tool."""


class Unavailable(AntiphonError):
    """Not now; nobody did anything wrong."""


class AtCapacity(Unavailable):
    """Every place is taken."""


class KeysUnreachable(Unavailable):
    """The keys that tokens are signed with cannot be fetched."""


class PoolTimeout(Unavailable):
    """No slot became free, or no answer came, within the longest wait."""


class Superseded(PoolTimeout):
    """A newer request of the same owner's took the place of this one, which it makes stale."""


class SessionsUnreachable(Unavailable):
    """Where sessions are kept cannot be reached, and so none can be resumed."""


class GoingAway(Unavailable):
    """The server is draining."""


class Replaced(Unavailable):
    """The session was resumed by another connection."""


class EngineError(AntiphonError):
    """An engine failed one request; the next may well succeed."""


class SttFailed(EngineError):
    """Speech could not be transcribed."""


class LlmFailed(EngineError):
    """The language model gave no answer."""


class LlmStalled(LlmFailed):
    """The language model's first token, or the next one, did not come in time."""


class PromptRefused(LlmFailed):
    """The language model does not take this prompt: too long, say."""


class TtsFailed(EngineError):
    """A clause could not be voiced."""


class Unspeakable(TtsFailed):
    """A text that cannot be voiced: there is nothing to voice in it (only symbols, say), or what
    reads it does not survive it."""


class GpuOutOfMemory(EngineError):
    """The accelerator's memory is full, after one retry."""


class StoreFailed(AntiphonError):
    """What should be kept could not be written, or read."""


class StoreAway(StoreFailed):
    """Where it is kept cannot be reached; it is expected back."""


class StartError(AntiphonError):
    """The server cannot start. The message names the cause and the mend in one line."""


class SettingsError(StartError):
    """A setting is wrong; the message names the variable and what it takes."""


class ModelMissing(StartError):
    """A model file is not on disk; the message names it and the command that fetches it."""


def first_error(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The first real error of a group: what a TaskGroup of our own failed of."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return first_error(error)
        if isinstance(error, Exception):
            return error
    return AntiphonError(str(group))
