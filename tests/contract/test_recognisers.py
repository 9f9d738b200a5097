"""A recogniser that is fed frame by frame hears as well as the model does window by window, keeps
sessions apart, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.ports import (
    SPEECH_HZ,
    Float32,
    OpensRecognisers,
    Recogniser,
    SpeechWindow,
    Stop,
    Transcript,
)
from pipeline.engines.realtimestt import RealtimeSttTranscriber
from pipeline.errors import ModelMissing, PoolTimeout, SttFailed
from tests.contract.test_transcribers import SPEECH, running, word_errors, words_of
from tests.realtimestt import realtimestt
from tests.support import call, live_server

Clip = Callable[[str], Float32]
FRAME = 512
SESSIONS = 8

pytestmark = pytest.mark.models


@pytest.fixture
async def engine(models_dir: Path) -> AsyncIterator[RealtimeSttTranscriber]:
    engine = realtimestt(models_dir, slots=2)
    async with running(engine):
        yield engine


@asynccontextmanager
async def ear_of(
    engine: RealtimeSttTranscriber, windows: list[tuple[int, bool]] | None = None
) -> AsyncIterator[Recogniser]:
    """A recogniser whose model is asked without a pool; `windows` keeps what for."""

    async def ask(window: SpeechWindow, final: bool) -> Transcript:
        if windows is not None:
            windows.append((len(window.audio), final))
        return await engine.transcribe(window, Stop())

    ear = await engine.recogniser(ask)
    try:
        yield ear
    finally:
        await ear.close()


def feed(ear: Recogniser, audio: Float32, start: int = 0) -> int:
    """Frame by frame, as a session does; the end of the last whole one."""
    for at in range(0, len(audio) - FRAME + 1, FRAME):
        ear.feed(audio[at : at + FRAME], start + at + FRAME)
    return start + len(audio) // FRAME * FRAME


def silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * SPEECH_HZ), np.float32)


def test_the_engine_says_that_sessions_have_ears_of_their_own(models_dir: Path) -> None:
    assert isinstance(realtimestt(models_dir), OpensRecognisers)


async def test_says_what_is_missing(tmp_path: Path) -> None:
    engine = realtimestt(tmp_path)
    with pytest.raises(ModelMissing):
        await engine.start()
    await engine.close()


async def test_no_ear_without_a_model(models_dir: Path) -> None:
    async def ask(window: SpeechWindow, final: bool) -> Transcript:
        raise AssertionError

    engine = realtimestt(models_dir)
    with pytest.raises(SttFailed):
        await engine.recogniser(ask)
    await engine.close()


async def test_hears_as_well_as_window_by_window(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    by_ear = by_window = total = 0
    for spoken in json.loads((SPEECH / "clips.json").read_text()):
        audio = clip(Path(spoken["file"]).stem)
        said = words_of(spoken["words"])
        async with ear_of(engine) as ear:
            end = feed(ear, np.concatenate((audio, silence(0.1))))
            heard = (await ear.words(0, end, final=True)).text
        window = (await engine.transcribe(SpeechWindow(audio), Stop())).text
        by_ear += word_errors(said, words_of(heard))
        by_window += word_errors(said, words_of(window))
        total += len(said)
    assert by_ear / total <= by_window / total + 0.02


async def test_words_come_while_somebody_speaks(engine: RealtimeSttTranscriber, clip: Clip) -> None:
    audio, windows = clip("jfk"), list[tuple[int, bool]]()
    async with ear_of(engine, windows) as ear:
        middle = feed(ear, audio[: 5 * SPEECH_HZ])
        so_far = await ear.words(0, middle, final=False)
        end = feed(ear, audio[middle:], middle)
        whole = await ear.words(0, end, final=True)
    assert "americans" in words_of(so_far.text)
    assert words_of(whole.text)[-1] == "country"
    assert [final for _, final in windows] == [False, True]
    assert windows[0][0] <= middle
    assert windows[1][0] == end


async def test_a_pause_within_a_turn_costs_no_words(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    audio = clip("jfk")
    async with ear_of(engine) as ear:
        pause = feed(ear, audio[: 3 * SPEECH_HZ])
        early = await ear.words(0, pause, final=True)  # and then the user goes on
        end = feed(ear, audio[pause:], pause)
        whole = await ear.words(0, end, final=True)
    assert early.text
    assert "fellow" in whole.text
    assert "country" in whole.text


async def test_the_words_of_one_turn_do_not_come_back_in_the_next(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    async with ear_of(engine) as ear:
        end = feed(ear, clip("jfk"))
        await ear.words(0, end, final=False)
        start = feed(ear, silence(4), end)  # long enough for the recorder to rest
        end = feed(ear, np.concatenate((clip("LJ001-0008"), silence(0.1))), start)
        so_far = await ear.words(start, end, final=False)
        whole = await ear.words(start, end, final=True)
    for transcript in (so_far, whole):
        assert "surpassed" in transcript.text
        assert "country" not in transcript.text


async def test_an_unfinished_clause_is_given_no_full_stop(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    async with ear_of(engine) as ear:
        end = feed(ear, clip("jfk")[: 5 * SPEECH_HZ])
        heard = await ear.words(0, end, final=True)
        plain = await engine.transcribe(SpeechWindow(clip("jfk")[:end]), Stop())
    assert heard.text == plain.text


async def test_what_goes_wrong_with_the_model_is_told_as_it_is(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    async def ask(window: SpeechWindow, final: bool) -> Transcript:
        raise PoolTimeout("waited too long")

    ear = await engine.recogniser(ask)
    end = feed(ear, clip("LJ001-0008"))
    for final in (True, False):
        with pytest.raises(PoolTimeout):
            await ear.words(0, end, final=final)
    await ear.close()


async def test_words_that_nobody_waits_for_any_more_are_not_given_to_the_next_who_asks(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def ask(window: SpeechWindow, final: bool) -> Transcript:
        if not asked.is_set():
            asked.set()
            await go_on.wait()
        return Transcript(str(len(window.audio)), "en")

    ear = await engine.recogniser(ask)
    end = feed(ear, clip("jfk"))
    first = asyncio.create_task(ear.words(0, FRAME * 40, final=True))
    await asked.wait()
    first.cancel()
    assert (await ear.words(0, end, final=True)).text == str(end)
    assert first.cancelled()
    await ear.close()


async def test_an_ear_may_be_closed_while_somebody_waits(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    asked = asyncio.Event()

    async def ask(window: SpeechWindow, final: bool) -> Transcript:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    ear = await engine.recogniser(ask)
    end = feed(ear, clip("LJ001-0008"))
    waiting = asyncio.create_task(ear.words(0, end, final=False))
    await asked.wait()
    waiting.cancel()
    await ear.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_eight_sessions_share_one_model_and_leave_nothing_behind(
    engine: RealtimeSttTranscriber, clip: Clip
) -> None:
    """Threads, memory, handlers and files: bounded a session, and gone with it."""
    names = [
        Path(spoken["file"]).stem for spoken in json.loads((SPEECH / "clips.json").read_text())
    ]
    speakers = (names * SESSIONS)[:SESSIONS]
    alone = {}
    for name in names:
        async with ear_of(engine) as ear:
            end = feed(ear, clip(name))
            alone[name] = (await ear.words(0, end, final=True)).text
    log = logging.getLogger("realtimestt")
    before, files, handlers = threads(), open_files(), log.handlers.copy()
    resident = memory_mb()
    most, grown = 0, 0.0

    async def session(name: str) -> str:
        nonlocal most, grown
        async with ear_of(engine) as ear:
            start = feed(ear, silence(40))  # more than is kept
            end = feed(ear, clip(name), start)
            await ear.words(start, start + 40 * FRAME, final=False)
            words = await ear.words(start, end, final=True)
            most = max(most, threads() - before)
            await together.wait()  # all of them are here, and have heard all that they will
            grown = max(grown, memory_mb() - resident)
            await together.wait()
            return words.text

    together = asyncio.Barrier(SESSIONS)
    texts = await asyncio.gather(*map(session, speakers))
    gc.collect()
    assert list(texts) == [alone[name] for name in speakers]
    assert most <= 4 * SESSIONS
    assert grown <= 15 * SESSIONS
    assert threads() <= before  # what an earlier test left may end meanwhile
    assert open_files() <= files
    assert log.handlers == handlers


def threads() -> int:
    """Of the process, those of native libraries too; all but the event loop's own helpers."""
    helpers = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    return len(os.listdir("/proc/self/task")) - helpers


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class TestThroughTheServer:
    async def test_a_spoken_turn_is_understood_though_its_client_falls_silent(
        self, models_dir: Path
    ) -> None:
        realtimestt(models_dir)
        with wave.open(str(SPEECH / "LJ001-0008.wav")) as file:
            pcm = file.readframes(file.getnframes())
        before = threads()
        async with live_server(
            ANTIPHON_STT_ENGINE="realtimestt",
            ANTIPHON_MODELS_DIR=str(models_dir),
            ANTIPHON_VAD_ENGINE="silero",
        ) as server:
            async with call(server.ws_url, {}) as caller:
                await caller.speak(pcm)  # and not a frame more
                final = await caller.until("transcript", final=True, within_s=60)
                assert "surpassed" in final["text"]
                assert (await caller.play())["status"] == "completed"
                await caller.say("bye")
                await caller.closed()
            engine = server.house.engines.transcriber
            assert engine.info.name == "realtimestt"
        assert threads() == before
