"""Kokoro on PyTorch: a batch says what each clause alone would, and memory that is full fails one
clause. The weights are small and random (see `tests/kokoro_torch.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.kokoro_weights import load
from pipeline.engines.kokoro import FILES, MODEL, KokoroSynthesizer
from pipeline.engines.kokoro_sound import by_written_word, load_style, phonemes_of
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.errors import GpuOutOfMemory, ModelMissing, TtsFailed
from tests.kokoro_torch import kokoro_torch, need_kokoro, random_weights

TEXTS = ("Sure.", "I can help with that, of course.", "What would you like to know about it today?")


@pytest.fixture
async def kokoro() -> AsyncIterator[KokoroSynthesizer]:
    engine = kokoro_torch(slots=4)
    await engine.start()
    yield engine
    await engine.close()


async def test_styles_leave_the_memory_when_nobody_has_spoken_for_a_while() -> None:
    need_kokoro()
    load_style.cache_clear()
    engine = KokoroSynthesizer(Path(random_weights().name), 1, 2, unload_s=3600.0)
    await engine.start()
    await say(engine, "Sure.")
    assert load_style.cache_info().currsize
    engine._idle._seconds = 0.001
    await say(engine, "Sure.")
    async with asyncio.timeout(10):
        while load_style.cache_info().currsize:
            await asyncio.sleep(0.001)
    assert len(await say(engine, "Sure."))
    await engine.close()


async def say(engine: KokoroSynthesizer, text: str, voice: str = "af_heart") -> Float32:
    request = SpeechRequest(text, voice)
    return np.concatenate([chunk async for chunk in engine.synthesize(request, Stop())])


def package_model(*, double: bool = False) -> Any:
    """The package's own, unchanged, with the same weights."""
    need_kokoro()
    shape, weights = (Path(random_weights().name) / MODEL / name for name in FILES)
    model = load(shape, weights)
    if double:
        model = model.double()
        stft = model.decoder.generator.stft
        stft.window = stft.window.double()
    return model


def clauses() -> list[Any]:
    """Three of different lengths, speeds and voices: the shorter ones are padded."""
    from pipeline.engines.kokoro_batch import Clause

    random = np.random.default_rng(1)
    made = []
    for count, speed in ((5, 1.0), (24, 1.3), (13, 0.8)):
        style = (0.3 * random.standard_normal((1, 256))).astype(np.float32)
        made.append(Clause([0, *random.integers(40, 150, count), 0], style, speed, count))
    return made


def alone(model: Any, clause: Any) -> tuple[Float32, Any]:
    """What the package makes of it, and its tokens' lengths in frames."""
    import torch

    ids = torch.tensor([clause.tokens])
    style = torch.tensor(clause.style, dtype=torch.get_default_dtype())
    audio, durations = model.forward_with_tokens(ids, style, clause.speed)
    return audio.float().numpy(), durations.numpy()


def together(model: Any) -> list[Any]:
    from pipeline.engines.kokoro_batch import BatchedKokoro

    rendered: list[Any] = BatchedKokoro(model).render(clauses())
    return rendered


def difference(one: Float32, other: Float32) -> float:
    """Root mean square, of the other's."""
    return float(np.sqrt(np.mean(np.square(one - other)) / np.mean(np.square(other))))


@contextmanager
def same_noise(dtype: str, frames: int = 10_000) -> Iterator[None]:
    """What is made is of this type, so many frames of the silence around a clause are voiced (all,
    as the package does), and the noise is the same at every call. It is not left out: the phases of
    a spectrum without it hang on the last bit of each number."""
    need_kokoro()
    import torch

    from pipeline.engines import kokoro_batch

    random = np.random.default_rng(5)
    noise = torch.from_numpy(random.standard_normal((1, 200_000, 9)))
    phases = torch.from_numpy(random.random((1, 9)))

    def randn_like(x: Any, **_: object) -> Any:
        return noise[:, : x.shape[1], : x.shape[2]].expand(x.shape).to(x.dtype).clone()

    def rand(*size: int, **_: object) -> Any:
        return phases[:, : size[-1]].expand(*size).to(torch.get_default_dtype()).clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kokoro_batch, "LEAD_FRAMES", frames)
        patch.setattr(kokoro_batch, "TAIL_FRAMES", frames)
        patch.setattr(torch, "randn_like", randn_like)
        patch.setattr(torch, "rand", rand)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def exact() -> list[tuple[Float32, Any]]:
    """Each clause by the package's own model, in double precision."""
    with same_noise("float64"):
        model = package_model(double=True)
        return [alone(model, clause) for clause in clauses()]


class TestABatch:
    def test_says_what_each_clause_alone_does(self, exact: list[tuple[Float32, Any]]) -> None:
        """Sample by sample, in double precision: what differs there is no rounding."""
        with same_noise("float64"):
            batch = together(package_model(double=True))
        for (audio, durations), got in zip(exact, batch, strict=True):
            assert got.audio.shape == audio.shape
            assert np.abs(got.audio - audio).max() <= 1e-6 * np.abs(audio).max()
            assert got.starts == tuple(600 * np.cumsum([0, *durations]))

    def test_differs_from_a_clause_alone_by_no_more_than_rounding_does(
        self, exact: list[tuple[Float32, Any]]
    ) -> None:
        """In single precision, as it is run. The model alone is so far from itself in double
        precision (the tone's phase is a sum of thousands of radians): that is its floor."""
        with same_noise("float32"):
            model = package_model()
            floors = [
                difference(alone(model, clause)[0], right)
                for clause, (right, _) in zip(clauses(), exact, strict=True)
            ]
            batched = [
                difference(got.audio, right)
                for got, (right, _) in zip(together(package_model()), exact, strict=True)
            ]
        assert all(got <= 1.5 * floor for got, floor in zip(batched, floors, strict=True)), (
            batched,
            floors,
        )

    def test_is_cut_where_each_clause_alone_is(self, exact: list[tuple[Float32, Any]]) -> None:
        """The silence around a clause is not voiced, in a batch as by itself. These weights make
        three frames or more of each token."""
        from pipeline.engines.kokoro_batch import BatchedKokoro

        with same_noise("float64", frames=2):
            model = BatchedKokoro(package_model(double=True))
            singles = [model.render([clause])[0] for clause in clauses()]
            batch = model.render(clauses())
        for single, got, (whole, _) in zip(singles, batch, exact, strict=True):
            assert got.starts == single.starts
            assert got.audio.shape == single.audio.shape < whole.shape
            assert np.abs(got.audio - single.audio).max() <= 1e-6 * np.abs(single.audio).max()

    async def test_several_users_share_it_and_never_mix(self, kokoro: KokoroSynthesizer) -> None:
        batches: list[int] = []
        render = kokoro._model.render  # type: ignore[union-attr]

        def counted(clauses: list[Any]) -> list[Any]:
            batches.append(len(clauses))
            return render(clauses)

        kokoro._model.render = counted  # type: ignore[method-assign, union-attr, assignment]
        lengths = [len(await say(kokoro, text)) for text in TEXTS]
        batches.clear()
        texts = [*TEXTS, *TEXTS]
        audios = await asyncio.gather(*(say(kokoro, text) for text in texts))
        assert sum(batches) == len(texts) > len(batches)
        for length, audio in zip([*lengths, *lengths], audios, strict=True):
            assert len(audio) == pytest.approx(length, rel=0.15)  # the ends are trimmed by level


class TestWords:
    async def test_each_has_its_place_in_the_audio(self, kokoro: KokoroSynthesizer) -> None:
        text = 'I have 3 - no, "four" questions for you'
        request = SpeechRequest(text, "af_heart")
        (speech,) = [one async for one in kokoro.synthesize_timed(request, Stop())]
        assert len(speech.words) == len(text.split()) - 1 + 1  # "-" is no word; and the end
        assert list(speech.words) == sorted(set(speech.words))
        assert speech.words[0] < 0.3 * kokoro.rate_hz
        assert speech.words[-1] <= len(speech.audio)

    @pytest.mark.parametrize(
        ("spoken", "written", "places"),
        [
            ([0, 10, 20], "three two one", (0, 10, 20, 30)),
            ([0, 10, 20, 25], "42 birds", (0, 20, 30)),
            ([0, 10], "of the birds", (0, 0, 10, 30)),
            ([], "...", ()),
        ],
    )
    def test_are_those_that_are_written(
        self, spoken: list[int], written: str, places: tuple[int, ...]
    ) -> None:
        assert by_written_word(spoken, 30, written) == places


class TestFailure:
    TEXTS = (
        "I can help you with that.",
        "I can help you with this one.",
        "I can help her with that.",
    )
    """Of one bucket of lengths, so that they share a batch."""

    @pytest.mark.parametrize(
        ("wrong", "failure"),
        [
            ("CUDA out of memory", GpuOutOfMemory),
            ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", GpuOutOfMemory),
            ("index out of range", TtsFailed),
        ],
    )
    async def test_only_the_clause_that_cannot_be_voiced_by_itself_fails(
        self,
        kokoro: KokoroSynthesizer,
        monkeypatch: pytest.MonkeyPatch,
        wrong: str,
        failure: type[Exception],
    ) -> None:
        model = kokoro._model
        assert model is not None
        render, batches = model.render, list[int]()
        longest = max(len(phonemes_of(text, "en-us")) for text in self.TEXTS) + 2

        def small(clauses: list[Any]) -> list[Any]:
            batches.append(len(clauses))
            if any(len(clause.tokens) == longest for clause in clauses):
                raise RuntimeError(wrong)
            return render(clauses)

        monkeypatch.setattr(model, "render", small)
        done = await asyncio.gather(
            *(say(kokoro, text) for text in self.TEXTS), return_exceptions=True
        )
        assert batches == [3, 1, 1, 1]
        assert [type(one) for one in done] == [np.ndarray, failure, np.ndarray]
        await kokoro.free_memory()
        assert (await say(kokoro, "Sure.")).size


async def test_says_which_files_are_missing(tmp_path: Path) -> None:
    need_kokoro()
    engine = KokoroSynthesizer(tmp_path, 1, 1)
    with pytest.raises(ModelMissing, match=r"kokoro-v1_0\.pth"):
        await engine.start()
    await engine.close()
