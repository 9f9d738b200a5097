"""What a language model reads of a conversation, and how much that is. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.engines.ports import Message, ToolCall

from .items import Item


def messages_of(items: list[Item], most_tokens: int) -> list[Message]:
    """What was said, and every answer of a tool after its call: a model takes neither alone. Both
    stand where the answer is, or a late one would be followed by what came between. An answer is
    cut short at `most_tokens`."""
    calls = {item.call: item for item in items if item.role == "assistant" and item.call}
    messages: list[Message] = []
    speaker, at = 0, -1
    """The reply whose message calls may be added to, and where that stands; -1: there is none."""
    for item in items:
        if item.role == "tool":
            call = calls.get(item.call)
            if call is None or call.status != "completed":
                continue
            if at < 0 or speaker != call.reply:
                speaker, at = call.reply, len(messages)
                messages.append(Message("assistant", ""))
            wanted = ToolCall(call.call, call.name, call.text)
            messages[at] = replace(messages[at], calls=(*messages[at].calls, wanted))
            messages.append(Message("tool", shortened(item.text, most_tokens), call=item.call))
        elif item.text and not item.call:
            speaker, at = item.reply, len(messages) if item.role == "assistant" else -1
            messages.append(Message(item.role, item.text))
    return messages


def shortened(text: str, most_tokens: int) -> str:
    """Its beginning, where it is longer than so many tokens."""
    if tokens(text) <= most_tokens:
        return text
    start = text.encode("utf-8", "surrogatepass")[: 3 * (most_tokens - tokens("…"))]
    return start.decode("utf-8", "ignore") + "…"


def tokens(text: str) -> int:
    """An upper estimate of a text's tokens, without a tokenizer: one for every three bytes."""
    return 4 + len(text.encode("utf-8", "surrogatepass")) // 3
