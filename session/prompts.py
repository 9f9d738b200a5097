"""What the language model is asked: by a turn, or by a client that wants a reply of its own."""

from __future__ import annotations

from pipeline.engines.ports import Prompt

from .conversation import Conversation
from .items import Item
from .messages import Respond, Settings


class Prompts:
    """Makes one session's prompts of its history and its settings."""

    def __init__(self, history: Conversation, session: str, most_tokens: int) -> None:
        """`most_tokens`: the longest reply that the server allows."""
        self._history = history
        self._session = session
        self._most_tokens = most_tokens

    def of_turn(self, settings: Settings, turn: int = 0, text: str = "") -> Prompt:
        """What was said so far, and the words of a turn that may not be in it yet."""
        return Prompt(
            self._history.messages(settings.instructions, turn=turn, text=text),
            self._tokens(settings.reply_tokens),
            session=self._session,
            tools=settings.tools,
            tool_choice=settings.tool_choice,
        )

    def of_request(self, settings: Settings, asked: Respond) -> Prompt:
        """Of a reply that the client asked for. Raises `NoSuchItem`."""
        instructions = asked.instructions
        return Prompt(
            self._history.messages(
                settings.instructions if instructions is None else instructions,
                items=self.items_of(asked),
            ),
            self._tokens(
                settings.reply_tokens if asked.reply_tokens is None else asked.reply_tokens
            ),
            session=self._session,
            tools=settings.tools if asked.tools is None else asked.tools,
            tool_choice=asked.tool_choice or settings.tool_choice,
        )

    def items_of(self, asked: Respond) -> list[Item] | None:
        """What it is to be a reply to; None: the history. Raises `NoSuchItem`."""
        if asked.input is None:
            return None
        return [self._history.item(item) if isinstance(item, str) else item for item in asked.input]

    def _tokens(self, wanted: int) -> int:
        return min(wanted, self._most_tokens) if wanted else self._most_tokens
