"""Turns are taken in Spanish, Japanese and Hindi as in English: by their marks and the silence."""

from __future__ import annotations

import pytest

from pipeline.barge_in import Verdict, judge
from pipeline.clauses import ClauseCutter
from pipeline.endpointing import SURE_S, UNFINISHED_S, Reading, read
from pipeline.events import Interrupted, ReplyDone, ReplyResumed
from pipeline.signals import Draft
from pipeline.utterance import FRAME, SPEECH_HZ
from tests.pipeline.test_turn import Scene

QUESTIONS = {
    "Spanish": "¿A qué hora sale el tren?",
    "Japanese": "電車は何時に出ますか？",
    "Hindi": "ट्रेन कितने बजे जाती है?",
}
BEGUN = {
    "Spanish": "Mañana quiero ir a la playa,",
    "Japanese": "明日は海に行きたいけど、",
    "Hindi": "कल मैं बाज़ार जाना चाहता हूँ,",
}
WHOLE = {
    "Spanish": "Mañana quiero ir a la playa, si hace buen tiempo, con mis hijos.",
    "Japanese": "明日は海に行きたいけど、雨が降りそうです。",
    "Hindi": "कल मैं बाज़ार जाना चाहता हूँ, अगर बारिश नहीं हुई।",
}
SIGNS = {"Spanish": "ajá, claro", "Japanese": "はい、なるほど", "Hindi": "हाँ जी"}
REPLIES = {
    "Spanish": "El tren sale a las ocho. Llega a Madrid a mediodía.",
    "Japanese": "電車は八時に出ます。東京には正午に着きます。",
    "Hindi": "ट्रेन आठ बजे जाती है। वह दोपहर को पहुँचती है।",
}
LANGUAGES = list(QUESTIONS)


def silence_until_committed(scene: Scene) -> float:
    spoke_until = scene.now
    scene.hush(0.13)
    return spoke_until


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_is_answered_after_a_short_silence(language: str) -> None:
    scene = Scene()
    scene.speak()
    spoke_until = silence_until_committed(scene)
    scene.understand(QUESTIONS[language])
    while not scene.committed:
        scene.hush(0.032)
    assert scene.now - spoke_until <= SURE_S + 2 * FRAME / SPEECH_HZ
    assert scene.last(Draft).text == QUESTIONS[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_pauses_at_a_comma_may_go_on(language: str) -> None:
    scene = Scene()
    scene.speak()
    silence_until_committed(scene)
    scene.understand(BEGUN[language], end_of_turn=0.95)
    scene.hush(0.6)
    assert not scene.committed
    scene.speak()
    silence_until_committed(scene)
    scene.understand(WHOLE[language], end_of_turn=0.95)
    scene.hush(0.3)
    assert scene.committed
    assert scene.last(Draft).text == WHOLE[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_never_goes_on_is_answered_at_the_cap(language: str) -> None:
    scene = Scene()
    scene.speak()
    spoke_until = silence_until_committed(scene)
    scene.understand(BEGUN[language])
    while not scene.committed:
        scene.hush(0.032)
    assert scene.now - spoke_until <= UNFINISHED_S + 2 * FRAME / SPEECH_HZ


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sign_of_listening_does_not_stop_the_reply(language: str) -> None:
    scene = Scene()
    scene.say(QUESTIONS[language])
    scene.answer(REPLIES[language], seconds=8.0)
    scene.wait(1.0)
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand(SIGNS[language])
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    assert not scene.all(Interrupted)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_over_the_reply_stops_it(language: str) -> None:
    scene = Scene()
    scene.say(QUESTIONS[language])
    scene.answer(REPLIES[language], seconds=8.0)
    scene.wait(1.0)
    scene.speak(1.0)
    scene.hush(0.13)
    scene.understand(QUESTIONS[language])
    assert scene.all(Interrupted)
    heard = scene.last(ReplyDone).heard
    assert REPLIES[language].startswith(heard)
    assert len(heard) < len(REPLIES[language])


@pytest.mark.parametrize("language", ["Spanish", "Hindi"])  # Japanese is written without spaces
def test_what_is_said_over_a_reply_in_its_own_words_is_its_echo(language: str) -> None:
    first = REPLIES[language].replace("।", ".").split(". ")[0]
    assert judge(first, REPLIES[language]) is Verdict.ECHO


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reply_is_voiced_clause_by_clause_and_nothing_of_it_is_lost(language: str) -> None:
    cutter = ClauseCutter()
    text = " ".join([REPLIES[language]] * 4)
    clauses = [clause for sign in text for clause in cutter.feed(sign)] + cutter.finish()
    assert "".join(clause.text for clause in clauses) == text
    assert len(clauses) > 3
    assert all(clause.speakable for clause in clauses)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("¿Y si vamos", Reading.UNFINISHED),
        ("¿y si vamos", Reading.UNFINISHED),
        ("Hola. ¿qué", Reading.UNFINISHED),
        ("¿Vamos?", Reading.QUESTION),
        ("¡Claro que sí!", Reading.WHOLE),
        ("行きましょう。", Reading.WHOLE),
        ("चलो चलते हैं।", Reading.WHOLE),
        ("चलो…", Reading.UNFINISHED),
    ],
)
def test_marks_say_what_is_finished(text: str, reading: Reading) -> None:
    assert read(text) is reading
