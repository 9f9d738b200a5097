"""What is read from the live server when `GET /metrics` asks, not kept: who is here, who waits, how
many engines are at work, how its language model backends are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.engines.ports import BreakerState, HasBackends
from server.gpu import gpu_memory
from server.house import House


class Gauges(Collector):
    """Reads one house. The counters among them are kept by the sessions themselves."""

    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        """Every metric of this collector, with its values of now."""
        yield _gauge("build_info", "Always 1", "version", [(version("antiphon"), 1)])
        ready = self._house.why_not_ready() is None
        yield _gauge("ready", "1 if a session can be taken now: /readyz says why not", value=ready)
        yield from self._sessions()
        yield from self._turns()
        yield _gauge(
            "requests_active", "Requests over HTTP under way", value=self._house.requests.active
        )
        yield _gauge(
            "speech_cache_bytes", "Bytes in the speech cache", value=self._house.speech_cache.bytes
        )
        yield _gauge(
            "outbox_bytes", "What waits to be sent to clients, audio and text",
            value=sum(box.held_bytes for box in self._house.outboxes),
        )  # fmt: skip
        yield _gauge("scratch_bytes", "Files of requests at work", value=self._house.scratch.bytes)
        yield _gauge("tasks", "Tasks of the event loop", value=_tasks())
        yield from self._pool()
        yield from self._load()
        yield from self._backends()
        yield from _gpus()

    def _sessions(self) -> Iterator[Metric]:
        sessions = self._house.sessions
        admission = sessions.admission
        yield _gauge("sessions_active", "Sessions that are here", value=len(sessions))
        yield _gauge("sessions_waiting", "Clients in the waiting room", value=admission.waiting)
        parked = sessions.keeping.parked if sessions.keeping is not None else 0
        yield _gauge("sessions_parked", "Sessions that can be resumed", value=parked)
        yield _gauge("sessions_max", "Sessions there may be", value=admission.places)
        yield _counter("sessions_started", "Sessions that have begun", value=sessions.served)

    def _turns(self) -> Iterator[Metric]:
        sessions = self._house.sessions
        totals = sessions.totals()
        yield _counter(
            "turns", "Turns that are over; one without words is discarded", "result",
            [("understood", totals.turns), ("discarded", totals.discarded)],
        )  # fmt: skip
        yield _gauge("replies_active", "Replies under way", value=sessions.replying())
        yield _counter(
            "speculations", "Replies begun before their turn was over", value=totals.speculations
        )
        yield _counter(
            "speculations_wasted", "Replies begun so that were for nothing", value=totals.wasted
        )
        yield _counter(
            "speculation_saved_seconds",
            "Head start of those that left: from their beginning to the commit",
            value=totals.saved_ms / 1000,
        )
        yield _counter(
            "barge_ins",
            "Replies that somebody spoke over: held, then resumed or interrupted", "step",
            [
                ("held", totals.held),
                ("resumed", totals.resumed),
                ("interrupted", totals.interrupted),
            ],
        )  # fmt: skip
        yield _counter(
            "microphone_missed_seconds",
            "Audio that left the ring of 30 s before it was heard",
            value=totals.missed_s,
        )

    def _pool(self) -> Iterator[Metric]:
        status = self._house.pool.status().items()

        def gauge(name: str, text: str, values: Iterable[float]) -> Metric:
            kinds = [kind for kind, _ in status]
            return _gauge(f"pool_{name}", text, "kind", zip(kinds, values, strict=True))

        yield gauge("slots", "Slots there may be", (s.slots for _, s in status))
        yield gauge("instances", "Engines there are for them", (s.instances for _, s in status))
        yield gauge("claimed", "Slots that a session holds", (s.claimed for _, s in status))
        yield gauge(
            "occupied", "Slots with an engine at work", (s.busy + s.stopping for _, s in status)
        )
        yield gauge(
            "stopping",
            "Occupied slots whose result nobody waits for",
            (s.stopping for _, s in status),
        )
        yield gauge("queue_depth", "Requests that wait", (s.waiting for _, s in status))
        yield gauge(
            "queue_age_seconds", "How long the first of those who wait has waited",
            (s.oldest_ms / 1000 for _, s in status),
        )  # fmt: skip

    def _load(self) -> Iterator[Metric]:
        load = self._house.load
        yield _gauge("load_level", "What is left off under load: 0 to 3", value=load.level)
        yield _gauge(
            "pool_overdue_seconds", "How long the most overdue request has been due",
            value=load.last.late_s,
        )  # fmt: skip

    def _backends(self) -> Iterator[Metric]:
        model = self._house.engines.language_model
        backends = model.backends() if isinstance(model, HasBackends) else ()
        breaker = GaugeMetricFamily(
            "antiphon_llm_backend_breaker",
            "1 for the state that a language model backend's breaker is in",
            labels=["backend", "state"],
        )
        for backend in backends:
            for state in get_args(BreakerState):
                breaker.add_metric([backend.url, state], float(backend.breaker == state))
        yield breaker
        yield _gauge(
            "llm_backend_outstanding", "Replies that a backend is making", "backend",
            ((backend.url, backend.outstanding) for backend in backends),
        )  # fmt: skip
        yield _gauge(
            "llm_backend_limit", "Replies that it is asked for at once, at most", "backend",
            ((backend.url, backend.limit) for backend in backends),
        )  # fmt: skip
        yield _gauge(
            "llm_backend_first_token_seconds", "Its time to first token with little to do",
            "backend",
            ((b.url, b.ttft_ms / 1000) for b in backends if b.ttft_ms is not None),
        )  # fmt: skip


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # whoever asks has no loop, and so there are none
        return 0


def _gpus() -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "antiphon_gpu_memory_bytes",
        "Memory of a GPU, whoever uses it: with the extra gpu",
        labels=["device", "state"],
    )
    for gpu in gpu_memory():
        family.add_metric([str(gpu.device), "used"], gpu.used_bytes)
        family.add_metric([str(gpu.device), "total"], gpu.total_bytes)
    yield family


def _gauge(
    name: str,
    text: str,
    label: str | None = None,
    values: Iterable[tuple[str, float]] = (),
    *,
    value: float | None = None,
) -> Metric:
    """One without a label has a `value`, one with a label has `values` by it."""
    return _filled(
        GaugeMetricFamily(f"antiphon_{name}", text, value, [label] if label else None), values
    )


def _counter(
    name: str,
    text: str,
    label: str | None = None,
    values: Iterable[tuple[str, float]] = (),
    *,
    value: float | None = None,
) -> Metric:
    return _filled(
        CounterMetricFamily(f"antiphon_{name}", text, value, [label] if label else None), values
    )


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> Metric:
    for label, one in values:
        family.add_metric([label], one)
    return family
