"""One scripted scenario through both protocols: the core is told the same, and tells the same.

What differs by right is in `DIFFERS` and in what `meant` and `shape` leave out; nothing else does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline import events as ev
from server.wire.realtime_audio import PCM_HZ
from session import messages as msg
from session import session as session_module
from session.session import Session
from session.telling import Telling
from tests.realtime.client import connected, hears
from tests.support import LiveServer, call, live_server, murmur, silence

LONG = "Well. Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch."
"""Somewhere in its second word, which lasts for seconds, whole words say that "Well." was heard."""
CUT_S = 1.7
"""Audio that came when it is cut: all but the second that is sent ahead was played, which is more
than its first word."""
HEARD_MS = 700
TOOL = {"name": "weather", "description": "How it is.", "parameters": {"type": "object"}}

DIFFERS: tuple[type, ...] = (
    msg.Welcome,  # tells the token that only the one protocol has
    msg.Configured,  # tools come with the hello, or with an update
    ev.ReplyPaused,  # only the native protocol has a word for holding a reply
    msg.ItemTruncated,  # only the Realtime API asks to cut what is over: the other reports playback
    ev.SpeechStopped,  # how often, and how far before the words are known, is a matter of time
)
"""Events of which one protocol has more than the other."""


class Core:
    """What one session's core is told, and tells."""

    def __init__(self) -> None:
        self.commands: list[msg.Command] = []
        self.events: list[msg.Event] = []


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> list[Core]:
    """One for each session that begins within the test."""
    cores: list[Core] = []

    class Overheard(Telling):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            cores.append(heard := Core())
            send = self._send

            def sent(event: msg.Event) -> None:
                heard.events.append(event)
                send(event)

            self._send = sent

    obey = Session.tell

    async def told(session: Session, command: msg.Command) -> None:
        cores[-1].commands.append(command)
        await obey(session, command)

    monkeypatch.setattr(session_module, "Telling", Overheard)
    monkeypatch.setattr(Session, "tell", told)
    return cores


def says(server: LiveServer, text: str) -> None:
    """From now on this is what the scripted model answers."""
    model = server.house.engines.language_model
    model._script = replace(model._script, llm_text=text)  # type: ignore[attr-defined]


# --- the scenario, twice --------------------------------------------------------------------------


async def over_native(server: LiveServer) -> list[tuple[str, str, str]]:
    """A spoken turn, a barge-in, a typed turn, a tool call, a cancel; the history they leave."""
    hello = {"audio": {"rate": PCM_HZ}, "tools": [TOOL]}
    async with call(server.ws_url, hello) as caller:

        async def listen(reply: int) -> None:
            while len(caller.audio.get(reply, b"")) < 2 * PCM_HZ * CUT_S:
                await caller.next()

        says(server, LONG)
        hears(server, "What is its name?")
        await caller.speak(murmur(1.0, PCM_HZ) + silence(2.0, PCM_HZ))
        await listen(1)
        await caller.say("playback", reply=1, played_ms=HEARD_MS)
        says(server, "All right.")
        hears(server, "Stop it, please.")
        await caller.speak(murmur(1.0, PCM_HZ))
        await caller.until("interrupted")
        await caller.speak(silence(2.0, PCM_HZ))
        await caller.until("reply_done", reply=1)
        await caller.play()
        await caller.say("text", text="And then?")
        await caller.play()
        await caller.say("text", text="How is the weather?")
        wanted = await caller.until("tool_call")
        await caller.until("reply_done")
        await caller.say("tool_result", call=wanted["call"], output="sunny")
        await caller.play()
        says(server, LONG)
        await caller.say("text", text="Say it again.")
        await caller.until("reply_started")
        await listen(6)
        await caller.say("cancel")
        await caller.until("reply_done")
        return history(server)


async def over_realtime(server: LiveServer) -> list[tuple[str, str, str]]:
    """The same."""
    async with connected(server.url.replace("http", "ws")) as client:

        async def ask(text: str) -> None:
            await client.type(text)
            await client.say("response.create")

        async def listen() -> None:
            await client.until("response.created")
            audio = 0
            while audio < 2 * PCM_HZ * CUT_S:
                audio += len((await client.until("response.output_audio.delta"))["delta"]) * 3 // 4

        await client.update(tools=[{"type": "function", **TOOL}])
        says(server, LONG)
        hears(server, "What is its name?")
        await client.append(murmur(1.0, PCM_HZ) + silence(2.0, PCM_HZ))
        await listen()
        says(server, "All right.")
        hears(server, "Stop it, please.")
        await client.append(murmur(1.0, PCM_HZ))
        cut = (await client.done())["output"][0]["id"]
        await client.say(
            "conversation.item.truncate", item_id=cut, content_index=0, audio_end_ms=HEARD_MS
        )
        await client.until("conversation.item.truncated")
        await client.append(silence(2.0, PCM_HZ))
        await client.done()
        await ask("And then?")
        await client.done()
        await ask("How is the weather?")
        wanted = (await client.done())["output"][0]["call_id"]
        output = {"type": "function_call_output", "call_id": wanted, "output": "sunny"}
        await client.say("conversation.item.create", item=output)
        await client.say("response.create")
        await client.done()
        says(server, LONG)
        await ask("Say it again.")
        await listen()
        await client.say("response.cancel")
        await client.done()
        return history(server)


def history(server: LiveServer) -> list[tuple[str, str, str]]:
    (session,) = list(server.house.sessions)
    return [(item.role, item.text, item.status) for item in session.conversation.items]


# --- what is compared -----------------------------------------------------------------------------


def meant(commands: list[msg.Command]) -> list[tuple[object, ...]]:
    """Commands in the words of neither protocol.

    The native one types a turn, and answers a tool, in one command, where the other puts an item in
    and asks for a response. Reports of playback are the one's way to tell what was heard, a
    truncation the other's; tools come with the hello, or with an update.
    """
    meaning: list[tuple[object, ...]] = []
    for command in commands:
        match command:
            case msg.Say(text=text):
                meaning += [("say", text), ("reply",)]
            case msg.ToolResult(output=output):
                meaning += [("tool", output), ("reply",)]
            case msg.InsertItem(item=item):
                meaning.append(("tool" if item.role == "tool" else "say", item.text))
            case msg.Respond():
                meaning.append(("reply",))
            case msg.CancelReply():
                meaning.append(("cancel",))
            case msg.PlaybackReport() | msg.TruncateItem() | msg.Configure():
                pass
            case _:
                meaning.append((command,))
    return meaning


def log(events: list[msg.Event]) -> list[object]:
    """The events without what no two runs have in common: ids, times, how audio and text are cut.

    A reply's words, and its audio, stand where the first of them came. Transcripts so far come as
    often as there is time for.
    """
    typed = {event.item.text for event in events if isinstance(event, msg.ItemAdded)}
    spoken = {event.turn for event in events if isinstance(event, ev.SpeechStarted)}
    words: dict[int, str] = {}
    audible: set[int] = set()
    shapes: list[object] = []
    for event in events:
        match event:
            case ev.UserTranscript(final=False) | ev.ToolText():
                pass  # the whole is told as well
            case ev.UserTranscript(turn=turn, text=text) if turn not in spoken:
                assert text in typed  # over Realtime its item says it all
            case ev.ReplyText(reply, text):
                if reply not in words:
                    shapes.append(("words", reply))
                words[reply] = words.get(reply, "") + text
            case ev.ReplyAudio(reply=reply):
                if reply not in audible:
                    shapes.append(("audio", reply))
                audible.add(reply)
            case _ if not isinstance(event, DIFFERS):
                shapes.append(shape(event, spoken))
    return [*shapes, words]


def shape(event: msg.Event, spoken: set[int]) -> object:
    """An event without ids and times. A typed turn has a number in one protocol only."""

    def number(turn: int) -> int:
        return turn if turn in spoken else 0

    match event:
        case ev.SpeechStarted(turn):
            return ("speech_started", turn)
        case ev.ReplyStarted(reply, turn):
            return ("reply_started", reply, number(turn), event.aside, event.silent)
        case ev.ReplyAudioEnd(reply, audio_ms):
            return ("audio_end", reply, audio_ms)
        case ev.ToolCalled(reply, _, name, arguments):
            return ("tool_called", reply, name, arguments)
        case ev.ReplyDone():
            return (
                "reply_done", event.reply, number(event.turn), event.status, event.text,
                event.heard, event.spoken, event.apology, event.cut_short,
                event.latency is None, event.reply_tokens,
            )  # fmt: skip
        case msg.ItemAdded(item):
            text = item.text if item.status == "completed" else ""  # else only how it begins
            place = number(item.turn), item.reply
            return ("item", item.role, text, *place, item.status, item.name)
        case _:
            return event


async def test_one_scenario_gives_the_same_log_of_the_core_through_both(core: list[Core]) -> None:
    async with live_server() as server:
        native_history = await over_native(server)
        await server.house.sessions._empty.wait()
        realtime_history = await over_realtime(server)
    native, realtime = core
    assert meant(native.commands) == meant(realtime.commands)
    assert log(native.events) == log(realtime.events)
    assert native_history == realtime_history
    assert ("assistant", "Well.", "interrupted") in native_history
    assert ("tool", "sunny", "completed") in native_history
