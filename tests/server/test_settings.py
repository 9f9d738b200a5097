"""Settings: read once, validated, and wrong ones named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from server.settings import Settings, describe, load


def test_defaults_need_no_environment() -> None:
    settings = load({}, env_file=None)
    assert settings.port == 8000
    assert settings.engine_config().stt_model == "tiny.en"


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "ANTIPHON_PORT=1000\nANTIPHON_HOST=10.0.0.1\nANTIPHON_GREETING=Hello\nOTHER=x\n"
    )
    settings = load({"ANTIPHON_PORT": "2000"}, env_file=file, host="::1", port=None)
    assert (settings.port, settings.host, settings.greeting) == (2000, "::1", "Hello")


@pytest.mark.parametrize(
    ("variable", "value", "takes"),
    [
        ("ANTIPHON_PORT", "99999", "65535"),
        ("ANTIPHON_PORT", "eighty", "integer"),
        ("ANTIPHON_TTS_ENGINE", "parrot", "kokoro-onnx"),
        ("ANTIPHON_MAX_SESSIONS", "0", "greater than or equal to 1"),
        ("ANTIPHON_PROT", "8000", "not a setting"),
        ("ANTIPHON_AUTH_SECRET", "secret", "cannot do yet"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_it_takes(
    variable: str, value: str, takes: str
) -> None:
    with pytest.raises(SettingsError) as wrong:
        load({variable: value}, env_file=None)
    message = str(wrong.value)
    assert variable in message
    assert takes in message
    assert "\n" not in message


def test_an_old_name_is_read_and_gives_way_to_the_new() -> None:
    assert load({"MAX_CONCURRENT_GENERATIONS": "3"}, env_file=None).tts_slots == 3
    both = {"MAX_CONCURRENT_GENERATIONS": "3", "ANTIPHON_TTS_SLOTS": "2"}
    assert load(both, env_file=None).tts_slots == 2


def test_origins_are_a_list() -> None:
    settings = load(
        {"ANTIPHON_ALLOWED_ORIGINS": "https://a.example, https://b.example"}, env_file=None
    )
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def stuck_s(**environ: str) -> float:
    named = {f"ANTIPHON_{name}": value for name, value in environ.items()}
    return load(named, env_file=None).session_config().stuck_s


def test_a_reply_is_given_up_only_after_all_that_an_engine_may_take() -> None:
    assert stuck_s() == 60
    assert stuck_s(ENGINE_HANG_S="300") == 20 + 300 + 10
    assert stuck_s(ENGINE_HANG_S="300", POOL_WAIT_S="100") == 100 + 300 + 10
    assert stuck_s(LLM_FIRST_TOKEN_S="120") == 20 + 120 + 10
    assert stuck_s(LLM_GAP_S="120") == 20 + 120 + 10
    assert stuck_s(POOL_WAIT_S="100") == 2 * 100 + 20
    assert stuck_s(ENGINE_HANG_S="1", LLM_FIRST_TOKEN_S="1", POOL_WAIT_S="1") == 60


def test_secrets_are_not_shown() -> None:
    settings = load(
        {"ANTIPHON_LLM_API_KEY": "sk-secret", "ANTIPHON_ADMIN_TOKEN": "open"}, env_file=None
    )
    assert "secret" not in repr(settings)
    assert "open" not in repr(settings)


def test_every_setting_is_described() -> None:
    described = {name: text for name, _, text in describe()}
    assert len(described) == len(Settings.model_fields)
    assert all(described.values())
