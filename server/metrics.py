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

from pipeline.errors import AntiphonError, AtCapacity, PoolTimeout, RateLimited, Superseded
from pipeline.events import Failed, Latency, ReplyDone, ReplyStatus
from pipeline.pool import EOT, LLM, STT, TTS
from server.failures import codes, failure_of
from server.requests import Outcome, Tracked, Work
from session.messages import Closing
from session.shedding import Sample

# A second series for each, and nobody asks since when it counts.
disable_created_metrics()  # type: ignore[no-untyped-call]

KINDS = tuple(kind.name for kind in (STT, EOT, LLM, TTS))
PARTS = ("endpoint", "stt", "llm", "tts")
Drop = Literal["microphone", "outbox_audio", "outbox_text"]
BUDGETS = ("turns", "characters", "audio", "sessions")
REFUSALS = ("full", "share", "timeout", "superseded", "down")
"""Why a lease was not given: by `_refusal`."""

SPEECH_S = (0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds: the goals for voice-to-voice are among them."""
PARTS_S = (0.01, 0.025, *SPEECH_S)
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
        self._replies = counter(
            "replies", "Replies that have ended", "status", get_args(ReplyStatus)
        )
        self._errors = counter("errors", "Errors that clients were told", "code", codes())
        self._turned_away = counter(
            "sessions_refused", "Connections that got no session", "code", codes()
        )
        self._wait = histogram(
            "pool_wait_seconds", "How long a lease of an engine was waited for", WAITS_S, "kind"
        )
        self._refused = Counter(
            "antiphon_pool_refused", "Leases that were not given", ["kind", "reason"],
            registry=registry,
        )  # fmt: skip
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
        self._lag = histogram(
            "event_loop_lag_seconds",
            "The longest lag of the event loop in each half second",
            LAGS_S,
        )
        for kind in KINDS:
            self._wait.labels(kind)
            for reason in REFUSALS:
                self._refused.labels(kind, reason)
        for part in PARTS:
            self._part.labels(part)
        for work in get_args(Work):
            self._request_ttfa.labels(work)
            for outcome in get_args(Outcome):
                self._requests.labels(work, outcome)

    # --- what happens ----------------------------------------------------------------------------

    def told(self, event: object) -> None:
        """A session tells its client something; events that are not counted are ignored."""
        match event:
            case ReplyDone(status=status, latency=latency, spoken=spoken):
                self._replies.labels(status).inc()
                if latency is not None and spoken:
                    self._answered(latency)
            case Failed(error=Exception() as error) | Closing(error=Exception() as error):
                self._errors.labels(failure_of(error).code).inc()
            case _:
                pass

    def turned_away(self, error: AntiphonError) -> None:
        """A connection gets no session."""
        self._turned_away.labels(failure_of(error).code).inc()

    def waited(self, kind: str, seconds: float) -> None:
        """A lease was given, after so long."""
        self._wait.labels(kind).observe(seconds)

    def refused(self, kind: str, error: AntiphonError) -> None:
        """A lease was not given."""
        self._refused.labels(kind, _refusal(error)).inc()

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

    def sampled(self, sample: Sample) -> None:
        """The load was looked at."""
        self._lag.observe(sample.lag_s)

    def _answered(self, latency: Latency) -> None:
        self._voice_to_voice.observe(latency.total / 1000)
        for part in PARTS:
            self._part.labels(part).observe(getattr(latency, part) / 1000)

    # --- what is shown ---------------------------------------------------------------------------

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything in the form that an `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
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
