"""What an operator asks: does it live, can it take one more, what is it doing, who is here."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.engines.build import Engines
from pipeline.engines.ports import Engine, HasBackends, MeasuresMemory, RunsElsewhere
from pipeline.errors import NotFound
from pipeline.percentiles import percentile
from pipeline.pool import EOT, LLM, STT, TTS
from server.gate import remote_of
from server.house import House
from server.requests import describe
from session.kept import Summary
from session.manager import Ticket
from session.records import State
from session.session import Session

BY_OPERATOR = "ended by the operator"


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
                "stt": {**_info(engines.transcriber), "why": engines.ear.why},
                "llm": _info(engines.language_model),
                "tts": {**_info(engines.synthesizers[0]), "why": engines.voice.why},
                "vad": _info(engines.voice_activity),
                "eot": _info(engines.end_of_turn),
            },
            "sessions": {
                "active": len(house.sessions),
                "parked": house.keeping.parked if house.keeping is not None else 0,
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
            "dashboards": house.settings.dashboards_url or None,
            "load": {
                "loop_lag_ms": round(1000 * house.load.last.lag_s, 1),
                "queue_late_ms": round(1000 * house.load.last.late_s, 1),
            },
            "pool": {
                kind: {**_pool(asdict(state)), **_breaker(_engine(engines, kind))}
                for kind, state in house.pool.status().items()
            },
        }
    )


async def list_sessions(request: Request) -> Response:
    """Who is here, and who waits to be; with Redis, at every gateway."""
    house = _admin(request)
    rows = rows_here(house)
    if house.fellows is not None:
        rows += await house.fellows.rows("sessions")
    known = {row["id"] for row in rows}
    parked = await house.keeping.all_parked() if house.keeping is not None else []
    return JSONResponse(rows + [_parked(kept) for kept in parked if kept.session not in known])


async def list_requests(request: Request) -> Response:
    """The requests over HTTP that are at work, and the last ones, the newest first; with Redis,
    those of every gateway, one gateway after the other."""
    house = _admin(request)
    rows = requests_here(house)
    if house.fellows is not None:
        rows += await house.fellows.rows("requests")
    return JSONResponse(rows)


async def one_session(request: Request) -> Response:
    """One of them, in detail."""
    house, session = _admin(request), request.path_params["id"]
    found = details_here(house, session)
    if not found and house.fellows is not None:
        found = await house.fellows.rows("session", session)
    if not found:
        raise NotFound(f"there is no session {session!r}")
    return JSONResponse(found[0])


async def end_session(request: Request) -> Response:
    """End one of them."""
    house, session = _admin(request), request.path_params["id"]
    if house.fellows is None:
        await house.sessions.dismiss(session, BY_OPERATOR)
    else:
        try:
            await house.sessions.end_here(session, BY_OPERATOR)
        except NotFound:
            await house.fellows.end(session)
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


def rows_here(house: House) -> list[dict[str, Any]]:
    """Who is connected to this server."""
    here = [_session(house, session) for session in house.sessions]
    return here + [_waiting(house, ticket) for ticket in house.sessions.waiting()]


def requests_here(house: House) -> list[dict[str, Any]]:
    """The requests of this server."""
    return [{**describe(tracked), "gateway": house.name} for tracked in house.requests]


def details_here(house: House, session_id: str) -> list[dict[str, Any]]:
    """One session of this server's; none, if it is not here."""
    try:
        session = house.sessions.get(session_id)
    except NotFound:
        return []
    settings = session.settings
    details = {
        "settings": {
            "voice": settings.voice,
            "speed": settings.speed,
            "language": settings.language,
            "pace": settings.pace,
            "turn_detection": settings.detection,
        },
        "items": len(session.conversation.items),
        "muted": session.muted,
    }
    return [_session(house, session) | details]


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _admin(request: Request) -> House:
    house = _house(request)
    house.gate.admin(request)
    if request.method not in ("GET", "HEAD"):
        house.audit.note(
            "admin", action=f"{request.method} {request.url.path[:200]}", remote=remote_of(request)
        )
    return house


def _info(engine: Engine) -> dict[str, Any]:
    """What it is; on a device with memory of its own, what it takes of that."""
    use = engine.memory if isinstance(engine, MeasuresMemory) else None
    if use is None:
        return asdict(engine.info)
    memory = {
        "weights_mb": round(use.weights_bytes / 1e6),
        "call_mb": round(use.call_bytes / 1e6),
        "share_mb": round(use.share_bytes / 1e6) or None,
    }
    return {**asdict(engine.info), "memory": memory}


def _pool(state: dict[str, Any]) -> dict[str, Any]:
    p50, p95 = state.pop("wait_ms_p50"), state.pop("wait_ms_p95")
    oldest = state.pop("oldest_ms")
    return {**state, "wait_ms": {"p50": p50, "p95": p95, "oldest": oldest}}


def _engine(engines: Engines, kind: str) -> Engine:
    """The first of those that do this kind of work."""
    return {
        STT.name: engines.transcriber,
        EOT.name: engines.end_of_turn,
        TTS.name: engines.synthesizers[0],
        LLM.name: engines.language_model,
    }[kind]


def _breaker(engine: Engine) -> dict[str, Any]:
    """The best of the backends' breakers, and each backend; open where no replica answers; null
    where there is none to break."""
    if isinstance(engine, RunsElsewhere):
        return {"breaker": "open" if engine.away else "closed"}
    if not isinstance(engine, HasBackends):
        return {"breaker": None}
    backends = engine.backends()
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
        "gateway": house.name,
        "connected_at": round(session.connected_at, 3),
        "state": session.state,
        "turns": session.turns,
        "latency_ms": {
            "last": figures.latencies_ms[-1] if latencies else None,
            "p50": percentile(latencies, 0.5),
            "p95": percentile(latencies, 0.95),
        },
        "claims": {kind: claims[kind] for kind in ("stt", "llm", "tts")},
        "bytes": {"in": figures.bytes_in, "out": figures.bytes_out},
    }


def _waiting(house: House, ticket: Ticket) -> dict[str, Any]:
    row = _absent(ticket.session, ticket.user, ticket.remote, ticket.came_at, "waiting")
    return row | {"gateway": house.name}


def _parked(kept: Summary) -> dict[str, Any]:
    return _absent(
        kept.session, kept.user, kept.remote, kept.connected_at, "parked", turns=kept.turns
    )


def _absent(
    session: str, user: str | None, remote: str, at: float, state: State, turns: int = 0
) -> dict[str, Any]:
    """As a session shows that does nothing: its client is not here yet, or no more."""
    return {
        "id": session,
        "user": user,
        "protocol": "native",
        "remote": remote,
        "gateway": None,
        "connected_at": round(at, 3),
        "state": state,
        "turns": turns,
        "latency_ms": {"last": None, "p50": None, "p95": None},
        "claims": {"stt": 0, "llm": 0, "tts": 0},
        "bytes": {"in": 0, "out": 0},
    }
