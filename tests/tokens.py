"""Tokens as whoever signs them would make them, good and otherwise."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "a secret that is long enough for HS256"
AUTH = {"ANTIPHON_AUTH_SECRET": SECRET}


def claims(user: str = "anna", **others: Any) -> dict[str, Any]:
    """Good ones, for longer than the whole suite takes; a claim that is None is left out."""
    now = int(time.time())
    good = {"sub": user, "aud": "antiphon", "iat": now, "exp": now + 86_400}
    return {name: value for name, value in (good | others).items() if value is not None}


def token(user: str = "anna", *, secret: str = SECRET, **others: Any) -> str:
    """Signed with the shared secret."""
    return jwt.encode(claims(user, **others), secret, "HS256")


def bearer(shown: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {shown}"}
