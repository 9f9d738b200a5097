"""Piper, the small voice: what it reads, where it breathes, and what is said without it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipeline.config import EngineConfig, RayConfig
from pipeline.engines.build import build, ray_parts
from pipeline.engines.piper import (
    MODEL,
    MOST_LOADED,
    RATE_HZ,
    VOICE,
    PiperSynthesizer,
    readable,
)
from pipeline.engines.ports import Float32, SpeechRequest, Stop, Voice
from pipeline.errors import ModelMissing, NotFound, StartError, TtsFailed, Unspeakable
from tests.piper_voice import piper as piper_or_skip

SCRIPTED = EngineConfig(
    models_dir=Path("nowhere"),
    stt_engine="scripted",
    tts_engine="scripted",
    llm_engine="scripted",
    vad_engine="scripted",
)


@pytest.fixture
async def piper(models_dir: Path) -> AsyncIterator[PiperSynthesizer]:
    engine = piper_or_skip(models_dir)
    await engine.start()
    yield engine
    await engine.close()


async def say(engine: PiperSynthesizer, text: str, **how: object) -> list[Float32]:
    request = replace(SpeechRequest(text, VOICE.name), **how)  # type: ignore[arg-type]
    return [chunk async for chunk in engine.synthesize(request, Stop())]


def beside(
    models_dir: Path, folder: Path, name: str, code: str = "", espeak: str = "", rate_hz: int = 0
) -> None:
    """Joe's model under a name, described as another voice."""
    own = models_dir / MODEL / VOICE.name
    config = json.loads(Path(f"{own}.onnx.json").read_text())
    if code:
        config["language"]["code"], config["espeak"]["voice"] = code, espeak
        config["audio"]["sample_rate"] = rate_hz
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.onnx").symlink_to(f"{own}.onnx")
    (folder / f"{name}.onnx.json").write_text(json.dumps(config))


def silences_ms(audio: Float32) -> list[float]:
    """The stretches inside the sound that are quieter than -50 dBFS, in ms."""
    heard = np.flatnonzero(np.abs(audio) > 10 ** (-50 / 20))
    return [float(gap) for gap in np.diff(heard) / RATE_HZ * 1000]


class TestWithoutTheExtra:
    def test_a_setting_chooses_it_and_nothing_of_it_is_imported_before_the_start(self) -> None:
        program = f"""
import sys
from pathlib import Path, PosixPath
from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
engines = build({replace(SCRIPTED, tts_engine="piper")!r})
assert engines.synthesizers[0].info.name == "piper"
assert "piper" not in sys.modules
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def test_a_missing_package_is_told_with_the_mend(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "piper", None)
        engine = build(replace(SCRIPTED, tts_engine="piper")).synthesizers[0]
        with pytest.raises(StartError, match=r"piper-tts: run `make setup EXTRAS=piper`") as told:
            await engine.start()
        assert "\n" not in str(told.value)
        await engine.close()

    async def test_who_has_not_started_it_gets_no_sound(self) -> None:
        engine = PiperSynthesizer(Path("nowhere"), 1)
        with pytest.raises(TtsFailed, match="not loaded"):
            await say(engine, "Hello.")
        await engine.close()

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("Dr. Smith is in.", "Doctor Smith is in."),
            ("J. R. Jones", "J R Jones"),
            ("the U.S. Army", "the U.S Army"),
            ("So do I. And you?", "So do I. And you?"),
            ("e.g. this", "for example this"),
            ("Wait... what?", "Wait, what?"),
            ("Yes — of course.", "Yes, of course."),
            ("one - two", "one, two"),
            ("well-known", "well-known"),
            ("...and so on", "and so on"),
            ("it is half past four,", "it is half past four,"),
            ("**Great!** 🎉", "Great!"),
            ("Room １２３, step ①", "Room 123, step 1"),
        ],
    )
    def test_a_text_is_put_as_a_person_would_read_it(self, written: str, read: str) -> None:
        assert readable(written, "en-us") == read

    def test_digits_stay_where_espeak_reads_others_in_another_language(self) -> None:
        assert readable("३ १२", "ne") == "३ १२"


@pytest.mark.models
class TestPiper:
    async def test_its_first_voice_is_english(self, piper: PiperSynthesizer) -> None:
        assert piper.voices[0] == Voice("en_US-joe-medium", "en-us")
        assert await say(piper, "Hello.", language="en-GB")
        with pytest.raises(NotFound, match="fr"):
            await say(piper, "Bonjour.", language="fr")

    async def test_leaves_only_a_breath_of_silence_around_a_clause(
        self, piper: PiperSynthesizer
    ) -> None:
        audio = np.concatenate(await say(piper, "Well, I can help."))
        heard = np.flatnonzero(np.abs(audio) > 10 ** (-50 / 20))
        assert heard[0] <= 0.02 * RATE_HZ
        assert len(audio) - heard[-1] <= 0.05 * RATE_HZ

    async def test_a_long_text_is_voiced_sentence_by_sentence_with_a_pause_between(
        self, piper: PiperSynthesizer
    ) -> None:
        text = "The river runs along the valley and on to the sea, where the boats are. " * 6
        chunks = await say(piper, text)
        assert len(chunks) > 1
        for chunk in chunks[1:]:
            opening = np.flatnonzero(np.abs(chunk) > 10 ** (-50 / 20))[0] / RATE_HZ
            assert 0.2 < opening < 0.35

    async def test_no_pause_stands_between_a_title_and_its_name(
        self, piper: PiperSynthesizer
    ) -> None:
        audio = np.concatenate(await say(piper, "Doctor Smith."))
        assert max(silences_ms(audio)) < 150
        dotted = np.concatenate(await say(piper, "Dr. Smith."))
        assert max(silences_ms(dotted)) < 150

    async def test_in_a_replica_a_second_render_goes_on_where_the_first_was(
        self, models_dir: Path
    ) -> None:
        piper_or_skip(models_dir)
        config = replace(SCRIPTED, models_dir=models_dir, tts_engine="piper", ray=RayConfig())
        (tts,) = [part for part in ray_parts(config) if part.kind == "tts"]
        text = "The river runs along the valley, and on to the sea."
        renders = []
        for spoken_before in (1, 2):  # two replicas, each with a past of its own
            engine = tts.make(tts.config)
            assert isinstance(engine, PiperSynthesizer)
            await engine.start()
            for _ in range(spoken_before):
                await say(engine, "Something before it.")
            renders.append(np.concatenate(await say(engine, text)))
            await engine.close()
        np.testing.assert_array_equal(*renders)

    async def test_phonemes_in_doubled_brackets_are_spoken_as_they_are(
        self, piper: PiperSynthesizer
    ) -> None:
        locked = piper._phonemes("I say [[ təmˈɑːtoʊ ]], you know.")
        assert "təmˈɑːtoʊ" in locked
        assert locked.startswith("aɪ sˈeɪ")
        assert piper._phonemes("[[həlˈoʊ]]") == "həlˈoʊ"
        assert sum(map(len, await say(piper, "[[həlˈoʊ]]")))
        with pytest.raises(Unspeakable):
            await say(piper, "[[...]]")

    async def test_says_at_start_under_which_licence_it_is(self, models_dir: Path) -> None:
        engine = piper_or_skip(models_dir)
        with capture_logs() as lines:
            await engine.start()
        assert [line["licence"] for line in lines if line["event"] == "engine_is_gpl"] == [
            "GPL-3.0-or-later"
        ]
        await engine.close()

    async def test_speaks_in_every_voice_that_lies_in_the_models_folder(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        """The same weights under other names, as another language and at another rate."""
        piper_or_skip(models_dir)
        beside(models_dir, tmp_path / "piper-en-us-joe", "en_US-joe-medium")
        for number in range(MOST_LOADED):
            beside(
                models_dir, tmp_path / "piper-more", f"es_ES-{number}-low", "es_ES", "es", 16_000
            )
        engine = PiperSynthesizer(tmp_path, 1)
        await engine.start()
        assert len(engine.voices) == 1 + MOST_LOADED
        assert engine.voices[1] == Voice("es_ES-0-low", "es-es")
        own = np.concatenate(await say(engine, "Buenos días.", voice="es_ES-0-low", language="es"))
        english = np.concatenate(await say(engine, "Buenos días."))
        assert abs(len(own) - len(english)) > RATE_HZ // 20  # other sounds, at another rate
        for voice in engine.voices:
            assert await say(engine, "Uno.", voice=voice.name)
        assert len(engine._loaded) == MOST_LOADED
        with pytest.raises(NotFound, match="does not speak 'es'"):
            await say(engine, "Hola.", language="es")
        with pytest.raises(NotFound, match="no voice named"):
            await say(engine, "Hola.", voice="es_ES-x")
        await engine.close()

    async def test_a_voice_that_nobody_needs_leaves_the_memory_and_is_loaded_for_the_next(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        piper_or_skip(models_dir)
        for name in (VOICE.name, "other", "third"):
            beside(models_dir, tmp_path / "piper", name)
        engine = PiperSynthesizer(tmp_path, 1, unload_s=3600.0)
        await engine.start()
        for voice in ("other", "third"):
            assert await say(engine, "One.", voice=voice)
        assert list(engine._loaded) == [VOICE.name, "other", "third"]
        for loaded in engine._loaded.values():
            loaded.used_at -= 3600.0
        assert await say(engine, "Two.", voice="third")
        assert list(engine._loaded) == [VOICE.name, "third"]
        assert await say(engine, "Two.", voice="other")
        engine._unload_s = engine._idle._seconds = 0.001
        assert await say(engine, "Three.")  # the last words: then nobody says any more
        async with asyncio.timeout(10):
            while list(engine._loaded) != [VOICE.name]:
                await asyncio.sleep(0.001)
        await engine.close()

    async def test_a_file_that_describes_no_voice_is_named(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        piper_or_skip(models_dir)
        folder = tmp_path / "piper-broken"
        folder.mkdir()
        (folder / "x.onnx").write_bytes(b"")
        (folder / "x.onnx.json").write_text("[]")
        engine = PiperSynthesizer(tmp_path, 1)
        with pytest.raises(StartError, match=r"x\.onnx\.json describes no Piper voice"):
            await engine.start()
        await engine.close()

    async def test_two_instances_speak_at_once_without_mixing_their_words(
        self, models_dir: Path
    ) -> None:
        pair = [piper_or_skip(models_dir, threads=1) for _ in range(2)]
        for engine in pair:
            await engine.start()
        texts = [f"This is number {number}." for number in range(30)]
        alone = [pair[0]._phonemes(text) for text in texts]

        async def read(engine: PiperSynthesizer) -> list[str]:
            return [await engine._worker.run(engine._phonemes, text) for text in texts]

        assert await asyncio.gather(*map(read, pair)) == [alone, alone]
        for engine in pair:
            await engine.close()

    async def test_says_what_is_missing_and_the_mend(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        piper_or_skip(models_dir)
        engine = PiperSynthesizer(tmp_path, 1)
        with pytest.raises(ModelMissing, match=r"antiphon models pull piper-en-us-joe"):
            await engine.start()
        await engine.close()
