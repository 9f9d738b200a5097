"""What a gateway shows of its sessions and requests, a row each, to operators and to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import NotFound
from pipeline.percentiles import percentile
from server.requests import describe
from session.kept import Summary
from session.manager import Ticket
from session.records import State
from session.session import Session

if TYPE_CHECKING:
    from server.house import House

BY_OPERATOR = "ended by the operator"


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


def parked(kept: Summary) -> dict[str, Any]:
    """One whose client is gone, and may come back."""
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
