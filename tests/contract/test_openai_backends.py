"""What backends really send, and what becomes of it: split, stalled, broken, refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pipeline.engines.openai_llm import TOKENS_OVER, OpenAILanguageModel
from pipeline.engines.ports import (
    Message,
    Prompt,
    Stop,
    TextDelta,
    Tool,
    ToolCall,
    ToolDelta,
    Usage,
)
from pipeline.errors import LlmFailed, LlmStalled, PromptRefused, RateLimited, StartError
from tests.contract.chat_backend import (
    ChatBackend,
    answers_html,
    breaks_sse,
    chat_backend,
    chunk,
    cuts_a_character,
    head,
    never_stops,
    one_endless_line,
    refuses,
    reply,
    resets,
    sends,
    stalls,
)
from tests.contract.connections import in_use

PROMPT = Prompt((Message("system", "Be brief."), Message("user", "Hi.")), session="ada")
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def backend() -> AsyncIterator[ChatBackend]:
    async with chat_backend() as backend:
        yield backend


@pytest.fixture
async def model(backend: ChatBackend) -> AsyncIterator[OpenAILanguageModel]:
    async with started(OpenAILanguageModel(backend.url, "some-model", "sk-secret")) as engine:
        yield engine


@pytest.fixture
async def hasty(backend: ChatBackend) -> AsyncIterator[OpenAILanguageModel]:
    """One that soon takes silence for a stall."""
    engine = OpenAILanguageModel(backend.url, "some-model", first_token_s=0.2, gap_s=0.2)
    async with started(engine):
        yield engine


@asynccontextmanager
async def started(engine: OpenAILanguageModel) -> AsyncIterator[OpenAILanguageModel]:
    await engine.start()
    yield engine
    await engine.close()


async def answer(model: OpenAILanguageModel, stop: Stop | None = None) -> str:
    return "".join([delta.text async for delta in model.generate(PROMPT, stop or Stop())])


async def test_says_what_a_reply_came_to_where_the_server_counts(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    counted = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}\n\n'
    backend.answer = sends(head(), chunk("Hi."), chunk(finish="stop"), counted, DONE)
    last = [delta async for delta in model.generate(PROMPT, Stop())][-1]
    assert isinstance(last, TextDelta)
    assert last.usage == Usage(9, 4)


async def test_a_server_that_does_not_know_how_to_count_is_asked_without(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    unknown = refuses(400, b'{"error": {"message": "unknown field: stream_options"}}')
    good = backend.answer

    async def strict(writer: asyncio.StreamWriter) -> None:
        await (unknown if "stream_options" in backend.requests[-1] else good)(writer)

    backend.answer = strict
    assert await answer(model) == "Hello, you."
    assert await answer(model) == "Hello, you."
    assert ["stream_options" in request for request in backend.requests] == [True, False, False]


async def test_several_may_learn_at_once_that_a_server_does_not_know_how_to_count(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    unknown = refuses(400, b'{"error": {"message": "unknown field: stream_options"}}')
    good, asked = backend.answer, 0

    async def strict(writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            await good(writer)
            return
        while asked < 2:  # neither is told before both have asked
            await asyncio.sleep(0.001)
        await unknown(writer)

    backend.answer = strict
    assert await asyncio.gather(answer(model), answer(model)) == ["Hello, you."] * 2


async def test_asks_as_the_chat_format_has_it(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    assert await answer(model) == "Hello, you."
    assert backend.requests == [
        {
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi."},
            ],
            "max_tokens": 400,
            "temperature": 0.7,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert backend.keys[-1] == "bearer sk-secret"


CLOCK = Tool("clock", "What time it is.", '{"type": "object"}')


def tool_chunk(name: str | None, arguments: str, index: int | None = 0) -> bytes:
    """A piece of a tool call, as backends stream it."""
    function = {"name": name, "arguments": arguments}
    calls = [{"index": index, "id": "x", "type": "function", "function": function}]
    choice = {"index": 0, "delta": {"content": None, "tool_calls": calls}}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def test_tools_are_offered_and_their_calls_come_in_pieces(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    pieces = (tool_chunk("clock", ""), tool_chunk(None, '{"zone":'), tool_chunk(None, ' "UTC"}'))
    backend.answer = sends(head(), chunk("Well."), *pieces, chunk(finish="tool_calls"), DONE)
    prompt = replace(PROMPT, tools=(CLOCK,), tool_choice="clock")
    deltas = [delta async for delta in model.generate(prompt, Stop())]
    assert deltas == [
        TextDelta("Well."),
        ToolDelta(0, "clock"),
        ToolDelta(0, "", '{"zone":'),
        ToolDelta(0, "", ' "UTC"}'),
    ]
    function = {
        "name": "clock", "description": "What time it is.", "parameters": {"type": "object"},
    }  # fmt: skip
    assert backend.requests[-1]["tools"] == [{"type": "function", "function": function}]
    assert backend.requests[-1]["tool_choice"] == {
        "type": "function",
        "function": {"name": "clock"},
    }


async def test_a_call_and_its_answer_are_told_as_the_chat_format_has_it(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    call = ToolCall("call_1", "clock", "{}")
    said = (Message("assistant", "", (call,)), Message("tool", "noon", call="call_1"))
    prompt = replace(PROMPT, messages=(*PROMPT.messages, *said))
    assert [delta async for delta in model.generate(prompt, Stop())]
    assert backend.requests[-1]["messages"][2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "clock", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
    ]
    assert "tools" not in backend.requests[-1]


async def test_a_backend_that_does_not_count_its_calls_is_understood(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    backend.answer = sends(head(), tool_chunk("clock", "{}", None), chunk(finish="stop"), DONE)
    prompt = replace(PROMPT, tools=(CLOCK,))
    assert [d async for d in model.generate(prompt, Stop())] == [ToolDelta(0, "clock", "{}")]
    assert backend.requests[-1]["tool_choice"] == "auto"


async def test_a_reply_that_is_begun_is_gone_on_with(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    prompt = replace(PROMPT, begun="Hello", max_tokens=7)
    backend.answer = sends(head(), chunk(", you."), chunk(finish="length"), DONE)
    deltas = [delta async for delta in model.generate(prompt, Stop())]
    assert backend.requests[-1]["messages"][-1] == {"role": "assistant", "content": "Hello"}
    assert [(delta.text, delta.cut_short) for delta in deltas] == [(", you.", False), ("", True)]


async def test_a_kept_connection_that_was_just_closed_is_no_failure(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    async def hang_up_once(writer: asyncio.StreamWriter) -> None:
        backend.answer = sends(head(), reply("fine"))

    backend.answer = hang_up_once
    assert await answer(model) == "fine"
    assert len(backend.requests) == 2


async def test_a_server_that_only_hangs_up_is_a_failure(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    backend.answer = sends()
    with pytest.raises(LlmFailed, match="broke"):
        await answer(model)
    assert len(backend.requests) == 2


@pytest.mark.parametrize("text", ["naïve", "你好", "a 👩‍🚀 b", "line\u2028break \x85"])
async def test_a_character_cut_in_the_middle_arrives_whole(
    backend: ChatBackend, model: OpenAILanguageModel, text: str
) -> None:
    backend.answer = sends(head(), *(bytes([byte]) for byte in reply(text)))
    assert await answer(model) == text


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b": ping\n\n" + reply("a"), "a"),
        (reply("a", "b").replace(b"\n", b"\r\n"), "ab"),
        (chunk("a") + DONE, "a"),
        (chunk("a") + chunk(finish="length"), "a"),
        (chunk("a", finish="stop"), "a"),
        (reply(" a\n", "", " b "), " a\n b "),
        (reply(), ""),
        (b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n' + reply("a"), "a"),
        (b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n' + reply("a"), "a"),
        (reply("a").rstrip(), "a"),
        (reply("a") + chunk("after the end"), "a"),
    ],
)
async def test_reads_every_dialect(
    backend: ChatBackend, model: OpenAILanguageModel, stream: bytes, text: str
) -> None:
    backend.answer = sends(head(), stream)
    assert await answer(model) == text


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "broke off"),
        (chunk("a"), "broke off"),
        (chunk("a") + b'data: {"error": {"message": "out of luck"}}\n\n', "out of luck"),
        (b'data: {"error": "out of luck"}\n\n', "out of luck"),
        (b"data: <html>\n\n", "no completion"),
        (b'data: ["a"]\n\n', "no completion"),
        (b"data: " + b"x" * 1_100_000, "more than"),
    ],
)
async def test_a_broken_stream_is_a_failure(
    backend: ChatBackend, model: OpenAILanguageModel, stream: bytes, why: str
) -> None:
    backend.answer = sends(head(), stream)
    with pytest.raises(LlmFailed, match=why):
        await answer(model)
    backend.answer = sends(head(), reply("fine"))
    assert await answer(model) == "fine"


@pytest.mark.parametrize("before", [b"", head(), head() + chunk("a")])
async def test_a_backend_that_stalls_is_left(
    backend: ChatBackend, hasty: OpenAILanguageModel, before: bytes
) -> None:
    async def answer_and_stall(writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        await backend.stall(writer)

    backend.answer = answer_and_stall
    with pytest.raises(LlmFailed, match="stalled"):
        await answer(hasty)
    await backend.left.wait()


@pytest.mark.parametrize("end", [DONE, chunk(finish="stop")])
async def test_what_happens_after_the_end_of_a_reply_does_not_fail_it(
    backend: ChatBackend, hasty: OpenAILanguageModel, end: bytes
) -> None:
    async def answer_and_stall(writer: asyncio.StreamWriter) -> None:
        writer.write(head() + chunk("a") + end)
        await backend.stall(writer)

    backend.answer = answer_and_stall
    assert await answer(hasty) == "a"


async def test_comments_keep_no_stalled_reply_alive(
    backend: ChatBackend, hasty: OpenAILanguageModel
) -> None:
    async def comment_for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while not backend.left.is_set():
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.02)

    backend.answer = comment_for_ever
    with pytest.raises(LlmFailed, match="stalled"):
        await answer(hasty)


async def test_stop_closes_the_connection_and_is_no_error(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    async def talk_for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while not backend.left.is_set():
            writer.write(chunk("on "))
            await asyncio.sleep(0.001)

    backend.answer = talk_for_ever
    stop, heard = Stop(), 0
    async for _ in model.generate(PROMPT, stop):
        heard += 1
        if heard == 3:
            stop.set()
    assert heard == 3
    await backend.left.wait()


async def test_a_reply_that_stalls_is_left_at_once_when_nobody_wants_it(
    backend: ChatBackend,
) -> None:
    model = OpenAILanguageModel(backend.url, "some-model", first_token_s=60, gap_s=60)
    for before in (head(), head() + chunk("a")):
        backend.asked.clear()
        backend.left.clear()
        backend.answer, stop = stalls(before), Stop()
        reading = asyncio.ensure_future(answer(model, stop))
        await backend.asked.wait()
        stop.set()
        async with asyncio.timeout(10):
            await reading
            await backend.left.wait()
    await model.close()


async def test_empty_pieces_keep_no_stalled_reply_alive(
    backend: ChatBackend, hasty: OpenAILanguageModel
) -> None:
    async def nothing_for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(head() + chunk("a"))
        while True:
            writer.write(chunk(""))
            await asyncio.sleep(0.02)

    backend.answer = nothing_for_ever
    with pytest.raises(LlmStalled, match="nothing for"):
        await answer(hasty)


@pytest.mark.parametrize("every_s", [0.0, 0.001])
async def test_a_reply_that_never_stops_is_ended(
    backend: ChatBackend, model: OpenAILanguageModel, every_s: float
) -> None:
    backend.answer, heard = never_stops(every_s=every_s), 0

    async def listen() -> None:
        nonlocal heard
        async for _ in model.generate(replace(PROMPT, max_tokens=20), Stop()):
            heard += 1

    with pytest.raises(LlmFailed, match="does not stop"):
        await listen()
    assert heard == 20 + TOKENS_OVER
    await backend.left.wait()


async def test_a_flood_of_text_in_few_pieces_is_ended(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    backend.answer = never_stops("on " * 10_000)
    with pytest.raises(LlmFailed, match="does not stop"):
        await answer(model)


async def test_a_flood_without_text_is_ended(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    async def comment(writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while True:
            writer.write(b":" + b"x" * 60_000 + b"\n\n")
            await writer.drain()

    backend.answer = comment
    with pytest.raises(LlmFailed, match="bytes"):
        await answer(model)


async def test_a_reader_that_takes_its_time_is_not_a_stall(
    backend: ChatBackend, hasty: OpenAILanguageModel
) -> None:
    taken, heard = asyncio.Event(), ""

    async def one_and_later_the_rest(writer: asyncio.StreamWriter) -> None:
        writer.write(head() + chunk("a"))
        await taken.wait()
        writer.write(reply("b"))

    backend.answer = one_and_later_the_rest
    async for delta in hasty.generate(PROMPT, Stop()):
        heard += delta.text
        await asyncio.sleep(0.25)  # longer than the gap
        taken.set()
    assert heard == "ab"


FAULTS = {
    "refuses": (refuses(500), "HTTP 500"),
    "closes before its head": (sends(), "broke"),
    "closes early": (sends(head(), chunk("Half a")), "broke off"),
    "resets": (resets(head(), chunk("Half a")), "broke"),
    "stalls": (stalls(head()), "no first token"),
    "stalls later": (stalls(head(), chunk("Half a")), "nothing for 0.2 s"),
    "breaks its SSE": (breaks_sse(), "no completion"),
    "cuts a character": (cuts_a_character(), "no completion"),
    "one endless line": (one_endless_line(), "more than"),
    "a web page": (answers_html(), "web page"),
    "a web page as an error": (answers_html(502), "HTTP 502"),
    "no stream": (sends(head(kind="application/json"), b'{"error": "not here"}'), "not here"),
    "never stops": (never_stops(every_s=0), "does not stop"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_reason_and_leaves_nothing_behind(
    backend: ChatBackend, model: OpenAILanguageModel, hasty: OpenAILanguageModel, fault: str
) -> None:
    backend.answer, reason = FAULTS[fault]
    model = hasty if fault.startswith("stalls") else model
    for _ in range(5):
        with pytest.raises(LlmFailed, match=reason):
            await answer(model)
    assert in_use(model) == 0
    backend.answer = sends(head(), reply("fine"))
    assert await answer(model) == "fine"
    assert in_use(model) == 0


async def test_a_refused_connection_has_its_reason(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    await backend.refuse()
    with pytest.raises(LlmFailed, match="cannot be reached"):
        await answer(model)
    await backend.listen()
    assert await answer(model) == "Hello, you."


async def test_a_stall_after_stop_is_nobodys_error(
    backend: ChatBackend, hasty: OpenAILanguageModel
) -> None:
    async def one_and_stall(writer: asyncio.StreamWriter) -> None:
        writer.write(head() + chunk("a"))
        await backend.stall(writer)

    backend.answer = one_and_stall
    stop = Stop()
    async for _ in hasty.generate(PROMPT, stop):
        stop.set()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, b'{"error": {"message": "context is too long."}}', "context is too long"),
        (404, b'{"error": "no such model"}', "no such model"),
        (422, b'{"detail": [{"loc": ["body"]}]}', "no reason given"),
        (500, b"<html>oops</html>", "HTTP 500"),
        (503, b"", "HTTP 503"),
        (500, b'{"error": "' + b"x" * 100_000 + b'"}', "no reason given"),
        (307, b"", "HTTP 307"),
    ],
)
async def test_a_refusal_says_why_in_a_line(
    backend: ChatBackend, model: OpenAILanguageModel, status: int, body: bytes, why: str
) -> None:
    backend.answer = sends(head(status, "application/json", retry_after="7"), body)
    with pytest.raises(LlmFailed, match=why) as failure:
        await answer(model)
    assert len(str(failure.value)) < 400
    assert failure.value.retry_after_s == 7


@pytest.mark.parametrize(("status", "prompts_fault"), [(400, True), (422, True), (404, False)])
async def test_a_prompt_that_nobody_would_take_is_told_apart(
    backend: ChatBackend, model: OpenAILanguageModel, status: int, prompts_fault: bool
) -> None:
    backend.answer = refuses(status)
    with pytest.raises(LlmFailed) as failure:
        await answer(model)
    assert isinstance(failure.value, PromptRefused) == prompts_fault


async def test_a_refused_key_is_never_quoted(
    backend: ChatBackend, model: OpenAILanguageModel
) -> None:
    backend.answer = sends(head(401), b'{"error": {"message": "bad key sk-secret"}}')
    with pytest.raises(LlmFailed) as failure:
        await answer(model)
    assert "sk-secret" not in str(failure.value)


@pytest.mark.parametrize(("header", "wait_s"), [("3", 3), ("soon", 1)])
async def test_too_many_requests_say_when_to_come_back(
    backend: ChatBackend, model: OpenAILanguageModel, header: str, wait_s: float
) -> None:
    backend.answer = sends(head(429, retry_after=header))
    with pytest.raises(RateLimited) as limited:
        await answer(model)
    assert limited.value.retry_after_s == wait_s


class TestStart:
    @pytest.mark.parametrize("written", ["{root}", "{root}/", "{root}/v1", "{root}/v1/"])
    async def test_takes_the_url_as_people_write_it(
        self, backend: ChatBackend, written: str
    ) -> None:
        model = OpenAILanguageModel(written.format(root=backend.url.removesuffix("/v1")))
        await model.start()
        assert await answer(model) == "Hello, you."
        await model.close()

    async def test_without_a_name_takes_the_first_model(self, backend: ChatBackend) -> None:
        model = OpenAILanguageModel(backend.url)
        await model.start()
        assert model.info.model == "first"
        await model.close()

    async def test_with_a_name_needs_no_list_of_models(self, backend: ChatBackend) -> None:
        backend.models_status, backend.models = 404, b""
        model = OpenAILanguageModel(backend.url, "mine")
        await model.start()
        assert model.info.model == "mine"
        await model.close()

    @pytest.mark.parametrize(
        ("status", "body", "variable"),
        [
            (200, b'{"data": []}', "ANTIPHON_LLM_MODEL"),
            (404, b"not here", "ANTIPHON_LLM_MODEL"),
            (401, b"{}", "ANTIPHON_LLM_API_KEY"),
        ],
    )
    async def test_says_which_setting_is_wrong(
        self, backend: ChatBackend, status: int, body: bytes, variable: str
    ) -> None:
        backend.models_status, backend.models = status, body
        model = OpenAILanguageModel(backend.url)
        with pytest.raises(StartError, match=variable):
            await model.start()
        await model.close()

    async def test_nobody_there_is_one_clear_line(self, backend: ChatBackend) -> None:
        async with chat_backend() as gone:
            url = gone.url
        model = OpenAILanguageModel(url)
        with pytest.raises(StartError, match="ANTIPHON_LLM_BASE_URL") as failure:
            await model.start()
        assert "\n" not in str(failure.value)
        await model.close()

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("ftp://me:secret@x/v1", "'ftp://...@x/v1'"),
            ("me:secret@x/v1", "'...@x/v1'"),
            ("http://me:sec@ret@x:port/v1", "'http://...@x:port/v1'"),
            ("http://me:sec://ret@x:port/v1", "'http://...@x:port/v1'"),
        ],
    )
    def test_what_is_no_url_is_shown_without_its_password(self, url: str, shown: str) -> None:
        with pytest.raises(StartError) as refused:
            OpenAILanguageModel(url)
        assert shown in str(refused.value)
        assert not re.search("me|sec|ret", str(refused.value))

    @pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x/v1", "http://", "http://[::"])
    def test_what_is_no_url_is_refused_at_once(self, url: str) -> None:
        with pytest.raises(StartError, match="ANTIPHON_LLM_BASE_URL"):
            OpenAILanguageModel(url)
