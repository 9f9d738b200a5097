"""A reply that is begun too early and dropped: no trace of it, at the client, in the history, in
what was spent, in what the model reads next and in what is stored."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.contract.chat_backend import ChatBackend, head, reply, sends, stalls
from tests.server.test_resume import LOST, asked, parked, served, welcome
from tests.support import Caller, LiveServer, call, murmur, silence

HEARD = "this is a scripted transcript"


@pytest.fixture(autouse=True)
def patient_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, the moment between two frames is no silence."""
    monkeypatch.setattr("pipeline.listening.GAP_S", 60.0)


async def waste_a_speculation(server: LiveServer, backend: ChatBackend, caller: Caller) -> None:
    """A pause in which a reply is begun, and its first audio made; then the voice goes on."""
    await caller.speak(silence(0.128))
    (session,) = server.house.sessions
    machine = session._turns.machine
    async with asyncio.timeout(20):
        while not (machine.replies.drafted and machine.replies.drafted.playback.made):
            await asyncio.sleep(0.005)
    assert backend.requests[-1]["messages"][-1]["content"] == HEARD
    assert machine.speculation.open
    assert not session.conversation.items
    await caller.speak(murmur(0.5))
    async with asyncio.timeout(20):
        while not machine.speculation.wasted:
            await asyncio.sleep(0.005)
    assert not session.conversation.items
    assert (session.figures.turns, session.figures.replies) == (0, 0)


def told(caller: Caller) -> list[dict[str, Any]]:
    """What does not depend on how long somebody spoke."""
    measured = ("at_ms", "latency_ms", "session", "resume", "limits")
    return [
        {name: value for name, value in message.items() if name not in measured}
        for message in caller.messages
        if message["type"] not in ("speech_started", "speech_stopped")
        and message.get("final") is not False
    ]


async def conversation(wasted: int) -> dict[str, Any]:
    """Two turns, as many as may be answered; `wasted`: speculations in the first one."""
    async with served(ANTIPHON_TURNS_PER_MINUTE="2") as (server, backend):
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await caller.speak(murmur(0.8))
            for _ in range(wasted):
                await waste_a_speculation(server, backend, caller)
            await caller.speak(murmur(0.5) + silence(1.0))
            spoken = await caller.play()
            assert caller.of("speech_started")[0]["turn"] == spoken["turn"] == 1
            await asked(caller, "And now?")
            await caller.say("text", text="One too many.")
            await caller.until("error", code="RATE_LIMITED")
            asked_of_the_model = backend.requests[-1]["messages"]
            await caller.socket.close(LOST)
        await parked(server)
        async with call(server.ws_url, {"resume": token}) as again:
            stored = welcome(again)
    return {
        "told": [one for one in told(caller) if one["type"] not in ("error", "reply_text")],
        "said": "".join(piece["text"] for piece in caller.of("reply_text")),
        "audio": [bytes(audio) for audio in caller.audio.values()],
        "prompt": [(message["role"], message["content"]) for message in asked_of_the_model],
        "stored": [(i["role"], i["text"], i["status"], i.get("turn")) for i in stored["history"]],
        "next": (stored["next_turn"], stored["next_reply"]),
    }


async def test_a_wasted_speculation_leaves_nothing() -> None:
    plain, wasteful = await conversation(0), await conversation(2)
    for what, value in plain.items():
        assert wasteful[what] == value, what
    assert wasteful["next"] == (3, 3)
    assert [text for _, text, _, _ in plain["stored"]][::2] == [HEARD, "And now?"]


async def test_guesses_do_not_hold_every_seat_at_a_model_elsewhere() -> None:
    """Two pauses in which a reply is begun, two seats, and answers that take their time: whoever
    types has one."""
    async with AsyncExitStack() as stack:
        server, backend = await stack.enter_async_context(served(ANTIPHON_LLM_SLOTS="2"))

        async def answer(writer: asyncio.StreamWriter) -> None:
            guess = backend.requests[-1]["messages"][-1]["content"] == HEARD
            await (stalls(head()) if guess else sends(head(), reply("At once.")))(writer)

        backend.answer = answer
        for _ in range(2):
            caller = await stack.enter_async_context(call(server.ws_url, {}))
            await caller.speak(murmur(0.8) + silence(0.128))  # and no frame more: it stays open
        machines = [session._turns.machine for session in server.house.sessions]
        async with asyncio.timeout(20):
            while not all(machine.speculation.open for machine in machines):
                await asyncio.sleep(0.005)
        typing = await stack.enter_async_context(call(server.ws_url, {}))
        await typing.say("text", text="Hello.")
        assert (await typing.until("reply_text", within_s=8.0))["text"] == "At once."
        assert all(machine.speculation.open for machine in machines)
