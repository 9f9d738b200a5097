"""Random conversations through the turn machine, the history and the codec: whatever happens, in
any order, every event is of the reference's form and its rules hold (`oracle.py`)."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import LlmFailed
from pipeline.events import ReplyAudio, TurnEvent
from pipeline.signals import (
    Ask,
    Cancel,
    Draft,
    DraftAudio,
    DraftCall,
    DraftMade,
    DraftText,
    DraftVoiced,
    DropTurn,
    Effect,
    EndTurn,
    Event,
    Heard,
    Look,
    Looked,
    Send,
    Voted,
)
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ
from server.wire.realtime import Realtime
from session.catalogue import Catalogue
from session.conversation import Conversation, Item
from session.messages import Settings, Welcome
from tests.realtime.oracle import Oracle

WORDS = ["", "Mm-hm.", "Stop.", "I went to the", "What time is it?", "I think so."]
CATALOGUE = Catalogue({"tone": "en-us"}, frozenset({"en"}), "tone")


class Play:
    """A session without a loop: machine, history, codec."""

    def __init__(self, config: TurnConfig) -> None:
        self.machine = TurnMachine(config)
        self.history = Conversation()
        self.codec = Realtime("m", "Be kind.", CATALOGUE)
        self.oracle = Oracle()
        self.now, self.sample, self.asks = 0.0, 0, 0
        self.looks: list[Look] = []
        self.draft: Draft | None = None
        self.text = self.made = 0
        self.tell(Welcome("s", Settings("tone", ""), 1, 1, 24_000, 24_000))

    def tell(self, event: object) -> None:
        for frame in self.codec.encode(event):  # type: ignore[arg-type]
            self.oracle.see(json.loads(frame))

    def step(self, event: Event | None) -> None:
        for effect in self.machine.step(event, self.now):
            self.follow(effect)

    def follow(self, effect: Effect) -> None:
        match effect:
            case Look():
                self.looks.append(effect)
            case Draft():
                self.draft, self.text, self.made = effect, 0, 0
            case Send(_, reply, start, end):
                self.tell(ReplyAudio(reply, start, bytes(2 * (end - start))))
            case _ if isinstance(effect, TurnEvent):
                if (added := self.history.note(effect)) is not None:
                    self.tell(added)
                self.tell(effect)
            case _:
                pass

    # --- what may happen -------------------------------------------------------------------------

    def sound(self, probability: float, frames: int) -> None:
        for _ in range(frames):
            self.now += FRAME / SPEECH_HZ
            self.sample += FRAME
            self.step(Heard(probability, self.sample, self.now))

    def understand(self, words: str) -> None:
        if self.looks:
            look = self.looks.pop()
            self.step(Looked(look.key, look.segment, look.attempt, words, end=look.end))
            self.step(Voted(look.key, look.segment, look.attempt, 0.95))

    def write(self, text: str) -> None:
        if self.draft is not None:
            self.step(DraftText(self.draft.draft, text))
            start, self.text = self.text, self.text + len(text)
            if not self.draft.silent:
                begun, self.made = self.made, self.made + 12_000
                self.step(DraftAudio(self.draft.draft, 12_000))
                self.step(DraftVoiced(self.draft.draft, start, self.text, begun, self.made))

    def call(self, call: str, arguments: str) -> None:
        if self.draft is not None:
            draft = self.draft.draft
            self.step(DraftCall(draft, f"{call}{draft}", "", arguments))  # ids are never reused

    def finish(self, how: str) -> None:
        if self.draft is not None:
            error = LlmFailed("gone") if how == "failed" else None
            made, self.draft = DraftMade(self.draft.draft, error, how == "cut_short"), None
            self.step(made)  # which may begin the next one

    def ask(self, aside: bool, silent: bool) -> None:
        if aside or not self.machine.answering:
            self.asks += 1
            self.step(Ask(self.asks, aside=aside, silent=silent))

    def turn(self, words: str) -> None:
        """A whole one."""
        self.sound(0.95, 25)
        self.sound(0.02, 4)
        self.understand(words)
        self.sound(0.02, 10)

    def insert(self, text: str) -> None:
        self.tell(self.history.insert(Item("", "user", text)))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.step(None)

    def end(self) -> None:
        """Let everything come to its end."""
        for _ in range(40):
            self.understand("Stop.")
            self.sound(0.02, 4)
            self.finish("completed")
            self.wait(1.0)


ACTIONS = st.one_of(
    st.tuples(st.just("sound"), st.sampled_from([0.02, 0.95]), st.integers(1, 25)),
    st.tuples(st.just("understand"), st.sampled_from(WORDS)),
    st.tuples(st.just("turn"), st.sampled_from(WORDS)),
    st.tuples(st.just("write"), st.sampled_from(["Well. ", "It is noon. ", "So!"])),
    st.tuples(st.just("call"), st.sampled_from(["a", "b"]), st.sampled_from(["", "{", "}"])),
    st.tuples(st.just("finish"), st.sampled_from(["completed", "failed", "cut_short"])),
    st.tuples(st.just("ask"), st.booleans(), st.booleans()),
    st.tuples(st.just("insert"), st.just("Hello.")),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.5, 2.0])),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("drop")),
)
CONFIGS = st.builds(
    TurnConfig,
    detection=st.sampled_from(["auto", "manual"]),
    answers=st.booleans(),
    interrupts=st.booleans(),
    silent=st.booleans(),
    holds=st.just(False),
    follows_playback=st.just(False),
)


@settings(max_examples=200, deadline=None)
@given(CONFIGS, st.lists(ACTIONS, min_size=15, max_size=50))
def test_every_conversation_keeps_the_rules(config: TurnConfig, actions: list[tuple]) -> None:
    play = Play(config)
    for name, *arguments in actions:
        match name:
            case "cancel":
                play.step(Cancel())
            case "commit":
                play.step(EndTurn(play.sample))
            case "drop":
                play.step(DropTurn(play.sample))
            case _:
                getattr(play, name)(*arguments)
    play.end()
    play.oracle.settled()
