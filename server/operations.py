"""What an operator asks: does it live, can it take one more, what is it doing, who is here."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.engines.ports import Engine, HasBackends
from pipeline.percentiles import percentile
from pipeline.pool import LLM
from server.gate import check_admin
from server.house import House
from server.requests import describe
from session.manager import Ticket
from session.session import Session


async def healthz(request: Request) -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """It can take a session, or why not."""
    why = _house(request).why_not_ready()
    if why is None:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": why}, 503, {"Retry-After": "5"})


async def metrics(request: Request) -> Response:
    """For Prometheus: `docs/operations.md` has every name."""
    text, content_type = _admin(request).metrics.exposition(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": content_type})


async def status(request: Request) -> Response:
    """Everything at a glance; nothing about what anybody says."""
    house = _admin(request)
    engines, totals = house.engines, house.sessions.totals()
    return JSONResponse(
        {
            "status": house.why_not_ready() or "ready",
            "uptime_s": round(time.monotonic() - house.started_at, 1),
            "version": version("antiphon"),
            "engines": {
                "stt": _info(engines.transcriber),
                "llm": _info(engines.language_model),
                "tts": _info(engines.synthesizers[0]),
                "vad": _info(engines.voice_activity),
                "eot": _info(engines.end_of_turn),
            },
            "sessions": {
                "active": len(house.sessions),
                "parked": 0,
                "waiting": house.sessions.admission.waiting,
                "max": house.sessions.admission.places,
            },
            "requests": {
                "total": totals.replies + house.requests.total,
                "active": house.sessions.replying() + house.requests.active,
                "failed": totals.failed + house.requests.failed,
            },
            "replies": {
                "total": totals.replies,
                "active": house.sessions.replying(),
                "failed": totals.failed,
            },
            "speculation": {
                "begun": totals.speculations,
                "wasted": totals.wasted,
                "saved_ms": totals.saved_ms,
            },
            "barge_ins": {
                "held": totals.held,
                "resumed": totals.resumed,
                "interrupted": totals.interrupted,
            },
            "shedding": house.load.level,
            "load": {
                "loop_lag_ms": round(1000 * house.load.last.lag_s, 1),
                "queue_late_ms": round(1000 * house.load.last.late_s, 1),
            },
            "pool": {
                kind: {**_pool(asdict(state)), **_breaker(engines.language_model, kind)}
                for kind, state in house.pool.status().items()
            },
        }
    )


async def list_sessions(request: Request) -> Response:
    """Who is here, and who waits to be."""
    house = _admin(request)
    return JSONResponse(
        [_session(house, session) for session in house.sessions]
        + [_waiting(ticket) for ticket in house.sessions.waiting()]
    )


async def list_requests(request: Request) -> Response:
    """The requests over HTTP that are at work, and the last ones, the newest first."""
    return JSONResponse([describe(tracked) for tracked in _admin(request).requests])


async def one_session(request: Request) -> Response:
    """One of them, in detail."""
    house = _admin(request)
    session = house.sessions.get(request.path_params["id"])
    return JSONResponse(
        {
            **_session(house, session),
            "settings": {
                "voice": session.settings.voice,
                "speed": session.settings.speed,
                "language": session.settings.language,
                "pace": session.settings.pace,
                "turn_detection": session.settings.detection,
            },
            "items": len(session.conversation.items),
            "muted": session.muted,
        }
    )


async def end_session(request: Request) -> Response:
    """End one of them."""
    house = _admin(request)
    await house.sessions.dismiss(request.path_params["id"], "ended by the operator")
    return Response(status_code=204)


routes = [
    Route("/healthz", healthz),
    Route("/ping", healthz),
    Route("/readyz", readyz),
    Route("/status", status),
    Route("/metrics", metrics),
    Route("/admin/requests", list_requests),
    Route("/admin/sessions", list_sessions),
    Route("/admin/sessions/{id}", one_session, methods=["GET"]),
    Route("/admin/sessions/{id}", end_session, methods=["DELETE"]),
]


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _admin(request: Request) -> House:
    house = _house(request)
    check_admin(request, house.settings.admin_token)
    return house


def _info(engine: Engine) -> dict[str, str]:
    return asdict(engine.info)


def _pool(state: dict[str, Any]) -> dict[str, Any]:
    p50, p95 = state.pop("wait_ms_p50"), state.pop("wait_ms_p95")
    oldest = state.pop("oldest_ms")
    return {**state, "wait_ms": {"p50": p50, "p95": p95, "oldest": oldest}}


def _breaker(model: Engine, kind: str) -> dict[str, Any]:
    """The best of the backends' breakers, null where there is none to break, and each backend."""
    if kind != LLM.name or not isinstance(model, HasBackends):
        return {"breaker": None}
    backends = model.backends()
    states = {backend.breaker for backend in backends}
    best = next(state for state in ("closed", "half_open", "open") if state in states)
    return {"breaker": best, "backends": [asdict(backend) for backend in backends]}


def _session(house: House, session: Session) -> dict[str, Any]:
    identity, figures = session.identity, session.figures
    latencies = sorted(figures.latencies_ms)

    claims = house.sessions.claims(identity.session)
    return {
        "id": identity.session,
        "user": identity.user,
        "protocol": identity.protocol,
        "remote": identity.remote,
        "gateway": None,
        "connected_at": round(session.connected_at, 3),
        "state": session.state,
        "turns": figures.turns,
        "latency_ms": {
            "last": figures.latencies_ms[-1] if latencies else None,
            "p50": percentile(latencies, 0.5),
            "p95": percentile(latencies, 0.95),
        },
        "claims": {kind: claims[kind] for kind in ("stt", "llm", "tts")},
        "bytes": {"in": figures.bytes_in, "out": figures.bytes_out},
    }


def _waiting(ticket: Ticket) -> dict[str, Any]:
    """As a session shows that has done nothing yet."""
    return {
        "id": ticket.session,
        "user": None,
        "protocol": "native",
        "remote": ticket.remote,
        "gateway": None,
        "connected_at": round(ticket.came_at, 3),
        "state": "waiting",
        "turns": 0,
        "latency_ms": {"last": None, "p50": None, "p95": None},
        "claims": {"stt": 0, "llm": 0, "tts": 0},
        "bytes": {"in": 0, "out": 0},
    }
