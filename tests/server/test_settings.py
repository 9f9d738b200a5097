"""Settings: read once, validated, and wrong ones named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from server.configs import engine_config, session_config
from server.settings import Settings, load
from server.settings_help import describe


def test_defaults_need_no_environment() -> None:
    settings = load({}, env_file=None)
    assert settings.port == 8000
    assert engine_config(settings).stt_model == "auto"


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
        ("ANTIPHON_REDIS_URL", "localhost:6379", "redis://HOST"),
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
    return session_config(load(named, env_file=None)).stuck_s


def test_a_reply_is_given_up_only_after_all_that_an_engine_may_take() -> None:
    assert stuck_s() == 60
    assert stuck_s(ENGINE_HANG_S="300") == 20 + 300 + 10
    assert stuck_s(ENGINE_HANG_S="300", POOL_WAIT_S="100") == 100 + 300 + 10
    assert stuck_s(LLM_FIRST_TOKEN_S="120") == 20 + 120 + 10
    assert stuck_s(LLM_GAP_S="120") == 20 + 120 + 10
    assert stuck_s(POOL_WAIT_S="100") == 2 * 100 + 20
    assert stuck_s(ENGINE_HANG_S="1", LLM_FIRST_TOKEN_S="1", POOL_WAIT_S="1") == 60


def test_secrets_are_not_shown() -> None:
    environ = {
        "ANTIPHON_LLM_API_KEY": "sk-secret",
        "ANTIPHON_LLM_BASE_URL": "http://me:secret@host/v1",
        "ANTIPHON_ADMIN_TOKEN": "open",
    }
    settings = load(environ, env_file=None)
    assert "secret" not in repr(settings)
    assert "open" not in repr(settings)


def test_every_setting_is_described() -> None:
    described = list(describe())
    assert len(described) == len(Settings.model_fields)
    assert all(setting.takes and setting.default and setting.text for setting in described)


SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"AUTH_SECRET": "too short"}, "ANTIPHON_AUTH_SECRET: it has 9 bytes"),
        ({"AUTH_SECRET": "change-me"}, "ANTIPHON_AUTH_SECRET: put a secret of your own"),
        ({"ADMIN_TOKEN": "change-me"}, "ANTIPHON_ADMIN_TOKEN: put a secret of your own"),
        ({"AUTH_SECRET": SECRET, "ADMIN_TOKEN": SECRET}, "ANTIPHON_ADMIN_TOKEN: it is ANTI"),
        ({"AUTH_JWKS_URL": "http://issuer.example/keys"}, "ANTIPHON_AUTH_JWKS_URL: an https"),
        ({"AUTH_JWKS_URL": "https://a:b@issuer.example/"}, "ANTIPHON_AUTH_JWKS_URL: an https"),
        ({"AUTH_JWKS_URL": "issuer.example"}, "ANTIPHON_AUTH_JWKS_URL: an https"),
        ({"AUTH_JWKS_URL": "https://["}, "ANTIPHON_AUTH_JWKS_URL: an https"),
        ({"ALLOWED_ORIGINS": "a.example"}, "ANTIPHON_ALLOWED_ORIGINS: 'a.example' is no origin"),
        ({"ALLOWED_ORIGINS": "https://a.example/"}, "ANTIPHON_ALLOWED_ORIGINS:"),
        ({"ALLOWED_HOSTS": "https://a.example"}, "ANTIPHON_ALLOWED_HOSTS:"),
        ({"ALLOWED_HOSTS": "a.example:443"}, "ANTIPHON_ALLOWED_HOSTS: 'a.example:443' is no name"),
        ({"TTS_SLOTS_LEAST": "3"}, "ANTIPHON_TTS_SLOTS_LEAST: 3 is more than ANTIPHON_TTS_SLOTS=1"),
        ({"AUTH_SECRET": SECRET, "RETENTION_S": "60", "RESUME_S": "0"},
         "ANTIPHON_RETENTION_S: 60 s keeps nothing with ANTIPHON_RESUME_S=0"),
        ({"RETENTION_S": "60"},
         "ANTIPHON_RETENTION_S: 60 s keeps nothing without ANTIPHON_AUTH_SECRET"),
        ({"AUTH_SKEW_S": "3600"}, "ANTIPHON_AUTH_SKEW_S='3600': input should be less"),
        ({"PAGE": "perhaps"}, "ANTIPHON_PAGE='perhaps': input should be a valid boolean"),
    ],
)  # fmt: skip
def test_what_does_not_hold_or_go_together_stops_the_start_by_name(
    environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError) as wrong:
        load({f"ANTIPHON_{name}": value for name, value in environ.items()}, env_file=None)
    message = str(wrong.value)
    assert message.startswith(says)
    assert "\n" not in message
    for secret in ("AUTH_SECRET", "ADMIN_TOKEN"):
        value = environ.get(secret, "")
        assert value in ("", "change-me") or value not in message


@pytest.mark.parametrize("url", ["https://issuer.example/keys", "http://127.0.0.1:9000/keys"])
def test_public_keys_come_from_where_nobody_can_change_them(url: str) -> None:
    assert load({"ANTIPHON_AUTH_JWKS_URL": url}, env_file=None).authenticates


def test_retention_is_for_known_users_whose_sessions_are_stored() -> None:
    kept = load({"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_RETENTION_S": "60"}, env_file=None)
    assert kept.retention_s == 60


def test_the_token_of_talk_is_no_setting_of_a_servers() -> None:
    load({"ANTIPHON_TOKEN": "x"}, env_file=None)


def test_speculation_can_be_switched_off() -> None:
    assert session_config(load({}, env_file=None)).speculates
    assert not session_config(load({"ANTIPHON_SPECULATION": "off"}, env_file=None)).speculates


def test_engines_run_on_ray_where_a_cluster_is_named() -> None:
    assert engine_config(load({}, env_file=None)).ray is None
    on_ray = {
        "ANTIPHON_CLUSTER": "ray", "ANTIPHON_RAY_TTS_REPLICAS": "2", "ANTIPHON_ENGINE_HANG_S": "8",
    }  # fmt: skip
    ray = engine_config(load(on_ray, env_file=None)).ray
    assert ray is not None
    assert (ray.address, ray.tts_replicas, ray.tts_least, ray.hang_s) == ("", 2, 2, 8.0)


def test_a_cluster_is_joined_as_a_node_and_not_through_a_client() -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_RAY_ADDRESS"):
        load({"ANTIPHON_RAY_ADDRESS": "ray://head:10001"}, env_file=None)


PROFILES = sorted((Path(__file__).parents[2] / "deploy" / "profiles").glob("*.env"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.stem)
def test_every_profile_starts_once_its_secrets_are_ones_own(profile: Path) -> None:
    own: dict[str, str] = {}
    if "change-me" in profile.read_text():
        with pytest.raises(SettingsError, match="a secret of your own"):
            load({}, env_file=profile)
        own = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_ADMIN_TOKEN": "open sesame"}
    load(own, env_file=profile)


def test_the_profile_for_the_internet_asks_everybody() -> None:
    own = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_ADMIN_TOKEN": "open sesame"}
    public = load(own, env_file=next(p for p in PROFILES if p.stem == "public"))
    assert public.authenticates
    assert public.admin_token
    assert public.allowed_hosts
    assert public.audit_mb
