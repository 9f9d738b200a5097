"""What is counted as it happens, for `GET /metrics`. What can be read when it is asked for is in
`gauges.py`. One registry a server; no label has more values than the code or the settings name.
"""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from pipeline.calls import CallFigures, CallOutcome
from pipeline.errors import AntiphonError, AtCapacity, PoolTimeout, RateLimited, Superseded
from pipeline.events import Failed, Latency, ReplyDone, ReplyStatus
from pipeline.pool import EOT, LLM, STT, TTS
from server.failures import codes, failure_of
from server.gate import REASONS
from server.requests import Outcome, Tracked, Work
from session.messages import Closing
from session.shedding import Level, Sample
from session.writing import Fate

# A second series for each, and nobody asks since when it counts.
disable_created_metrics()  # type: ignore[no-untyped-call]

KINDS = tuple(kind.name for kind in (STT, EOT, LLM, TTS))
PARTS = ("endpoint", "stt", "llm", "tts")
Drop = Literal["microphone", "outbox_audio", "outbox_text", "audit"]
Shared = Literal["sessions", "limits", "gateways", "passes"]
"""What gateways share in Redis."""
BUDGETS = ("turns", "characters", "audio", "sessions")
REFUSALS = ("full", "share", "timeout", "superseded", "down")
"""Why a lease was not given: by `_refusal`."""
ASKED = ("spoken", "typed")
USER_DATA, ASKERS = ("exported", "forgotten"), ("user", "operator")
STREAMS = (LLM.name, TTS.name)
"""Kinds whose first result comes well before their last."""
HEARS_OR_SPEAKS = (STT.name, TTS.name)
LEFT_OFF = {level: level.name.lower() for level in Level if level}

SPEECH_S = (0.05, 0.1, 0.2, 0.3, 0.45, 0.55, 0.65, 0.7, 0.8, 1.0, 1.2, 1.4, 1.5, 2, 3, 5, 10)
"""Upper bounds of the buckets, in seconds: the goals for voice-to-voice are among them."""
PARTS_S = (0.01, 0.025, *SPEECH_S)
CALLS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 1.0, 1.5, 2.5, 5, 10, 30)
"""From an end-of-turn model's look (23 ms) to a long reply of a slow language model."""
FACTORS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0)
"""Piper's is 0.02 to 0.05, Kokoro's 0.17 to 0.27; above 1 nothing can be played as it is made."""
WAITS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """One server's counters and histograms, and the registry that they stand in."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, label: str, values: tuple[str, ...]) -> Counter:
            made = Counter(f"antiphon_{name}", text, [label], registry=registry)
            for value in values:  # 0 is seen before the first one, or it would not be a rise
                made.labels(value)
            return made

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"antiphon_{name}", text, labels, registry=registry, buckets=buckets)

        self._voice_to_voice = histogram(
            "voice_to_voice_seconds",
            "From a spoken turn's last voiced sample to its reply's first audio sent",
            SPEECH_S,
        )
        self._part = histogram(
            "voice_to_voice_part_seconds",
            "What voice-to-voice is made of: the parts add up",
            PARTS_S,
            "part",
        )
        self._ttfa = histogram(
            "reply_ttfa_seconds",
            "From a turn's commit, or its typed text, to its reply's first audio sent",
            PARTS_S, "turn",
        )  # fmt: skip
        self._replies = counter(
            "replies", "Replies that have ended", "status", get_args(ReplyStatus)
        )
        self._errors = counter("errors", "Errors that clients were told", "code", codes())
        self._turned_away = counter(
            "sessions_refused", "Connections that got no session", "code", codes()
        )
        self._barred = counter(
            "refusals", "Who was not let in, and what was not read", "reason", REASONS
        )
        self._wait = histogram(
            "pool_wait_seconds", "How long a lease of an engine was waited for", WAITS_S, "kind"
        )
        self._refused = Counter(
            "antiphon_pool_refused", "Leases that were not given", ["kind", "reason"],
            registry=registry,
        )  # fmt: skip
        self._calls = Counter(
            "antiphon_engine_calls", "Engine calls that are over, or hang", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._call = histogram(
            "engine_call_seconds", "How long an engine was at work on a call that it completed",
            CALLS_S, "kind",
        )  # fmt: skip
        self._first_result = histogram(
            "engine_first_result_seconds",
            "From a call's begin at an engine to its first token, or its first audio",
            CALLS_S, "kind",
        )  # fmt: skip
        self._factor = histogram(
            "engine_real_time_factor",
            "Seconds of a completed call for a second of the audio that it heard or made",
            FACTORS, "kind",
        )  # fmt: skip
        self._audio = counter(
            "engine_audio_seconds", "Audio that engines heard, or made", "kind", HEARS_OR_SPEAKS
        )
        self._dropped = counter(
            "drops", "Frames and events dropped at a bound", "queue", get_args(Drop)
        )
        self._budget = counter(
            "budget_refusals", "What a used-up budget refused", "budget", BUDGETS
        )
        self._requests = Counter(
            "antiphon_requests", "Requests over HTTP that have ended", ["work", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._request_ttfa = histogram(
            "request_ttfa_seconds", "From a request's coming to its first audio, or first words",
            PARTS_S, "work",
        )  # fmt: skip
        self._request_audio = counter(
            "request_audio_seconds", "Audio that requests made, or heard", "work", get_args(Work)
        )
        self._cache = counter(
            "speech_cache", "Short texts looked for in the speech cache", "result", ("hit", "miss")
        )
        self._session_writes = counter(
            "session_writes", "Sessions written to the store", "result", get_args(Fate)
        )
        self._user_data = Counter(
            "antiphon_user_data", "Times that what is kept of a user was exported, or forgotten",
            ["what", "by"], registry=registry,
        )  # fmt: skip
        self._redis = counter(
            "redis_failures", "Times that Redis was not to be reached, or refused", "work",
            get_args(Shared),
        )  # fmt: skip
        self._lag = histogram(
            "event_loop_lag_seconds",
            "The longest lag of the event loop in each half second",
            LAGS_S,
        )
        self._shed = counter(
            "load_shedding", "Times that work began to be left off under load", "left_off",
            tuple(LEFT_OFF.values()),
        )  # fmt: skip
        self._level = Level.NOTHING
        for kind in KINDS:
            self._wait.labels(kind)
            self._call.labels(kind)
            for reason in REFUSALS:
                self._refused.labels(kind, reason)
            for how in get_args(CallOutcome):
                self._calls.labels(kind, how)
        for kind in STREAMS:
            self._first_result.labels(kind)
        for kind in HEARS_OR_SPEAKS:
            self._factor.labels(kind)
        for asked in ASKED:
            self._ttfa.labels(asked)
        for part in PARTS:
            self._part.labels(part)
        for what in USER_DATA:
            for who in ASKERS:
                self._user_data.labels(what, who)
        for work in get_args(Work):
            self._request_ttfa.labels(work)
            for outcome in get_args(Outcome):
                self._requests.labels(work, outcome)

    # --- what happens ----------------------------------------------------------------------------

    def told(self, event: object) -> None:
        """A session tells its client something; events that are not counted are ignored."""
        match event:
            case ReplyDone(status=status, latency=latency, spoken=spoken, timeline=timeline):
                self._replies.labels(status).inc()
                if latency is not None and spoken:
                    self._answered(latency)
                if (sent := timeline.first_sent) is not None:
                    begun_ms = timeline.commit or 0
                    asked = "spoken" if spoken else "typed"
                    self._ttfa.labels(asked).observe(max(0, sent - begun_ms) / 1000)
            case Failed(error=Exception() as error) | Closing(error=Exception() as error):
                self._errors.labels(failure_of(error).code).inc()
            case _:
                pass

    def turned_away(self, error: AntiphonError) -> None:
        """A connection gets no session."""
        self._turned_away.labels(failure_of(error).code).inc()

    def barred(self, reason: str) -> None:
        """Somebody was turned away at the gate, or something was not read."""
        self._barred.labels(reason).inc()

    def waited(self, kind: str, seconds: float) -> None:
        """A lease was given, after so long."""
        self._wait.labels(kind).observe(seconds)

    def refused(self, kind: str, error: AntiphonError) -> None:
        """A lease was not given."""
        self._refused.labels(kind, _refusal(error)).inc()

    def called(self, kind: str, figures: CallFigures) -> None:
        """An engine was called."""
        self._calls.labels(kind, figures.outcome).inc()
        if figures.first_s is not None and kind in STREAMS:
            self._first_result.labels(kind).observe(figures.first_s)
        if kind in HEARS_OR_SPEAKS:
            self._audio.labels(kind).inc(figures.audio_s)
        if figures.outcome == "completed":
            self._call.labels(kind).observe(figures.total_s)
            if figures.audio_s:
                self._factor.labels(kind).observe(figures.total_s / figures.audio_s)

    def dropped(self, queue: Drop) -> None:
        """Something found no room, or came too late."""
        self._dropped.labels(queue).inc()

    def over_budget(self, budget: str) -> None:
        """Something was refused for want of this budget."""
        self._budget.labels(budget).inc()

    def requested(self, request: Tracked) -> None:
        """A request over HTTP is over."""
        assert request.outcome is not None
        self._requests.labels(request.work, request.outcome).inc()
        self._request_audio.labels(request.work).inc(request.audio_s)
        if request.ttfa_s is not None:
            self._request_ttfa.labels(request.work).observe(request.ttfa_s)
        if request.code is not None:
            self._errors.labels(request.code).inc()

    def cache_asked(self, *, hit: bool) -> None:
        """A short text was looked for in the speech cache."""
        self._cache.labels("hit" if hit else "miss").inc()

    def session_written(self, fate: Fate) -> None:
        """A session was written to the store, or could not be."""
        self._session_writes.labels(fate).inc()

    def user_data(self, what: str, by: str) -> None:
        """What is kept of a user was exported or forgotten, by the user or by the operator."""
        self._user_data.labels(what, by).inc()

    def redis_failed(self, work: str) -> None:
        """Redis did not answer, or refused."""
        self._redis.labels(work).inc()

    def sampled(self, sample: Sample, level: Level) -> None:
        """The load was looked at, and this is left off from now on."""
        self._lag.observe(sample.lag_s)
        if level > self._level:
            self._shed.labels(LEFT_OFF[level]).inc()
        self._level = level

    def _answered(self, latency: Latency) -> None:
        self._voice_to_voice.observe(latency.total / 1000)
        for part in PARTS:
            self._part.labels(part).observe(getattr(latency, part) / 1000)

    # --- what is shown ---------------------------------------------------------------------------

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything in the form that an `Accept` header asks for, and its content type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # it asks for a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type


def _refusal(error: AntiphonError) -> str:
    match error:
        case Superseded():
            return "superseded"
        case PoolTimeout():
            return "timeout"
        case AtCapacity():
            return "full"
        case RateLimited():
            return "share"
        case _:
            return "down"
