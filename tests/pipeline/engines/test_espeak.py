"""espeak's own process: what ends there ends nothing else, and the next text is read."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import espeakng_loader
import pytest
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from structlog.testing import capture_logs

from pipeline.engine_faults import is_fault
from pipeline.engines import espeak, espeak_child, g2p
from pipeline.engines.espeak import Espeak, EspeakFailed, bundled
from pipeline.engines.kokoro_sound import phonemes_of
from pipeline.errors import AtCapacity, TtsFailed, Unspeakable

CHILD = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print(json.dumps({"said": []}), flush=True)
for line in sys.stdin:
    said = []
    for text in json.loads(line)[1]:
        match text.split():
            case ["die"]:
                os.abort()
            case ["hang"]:
                time.sleep(60)
            case ["die", "once", flag] if not os.path.exists(flag):
                open(flag, "w").close()
                os.abort()
            case ["refuse"]:
                print(json.dumps({"error": "no such language"}), flush=True)
                break
            case ["babble"]:
                print("no JSON", flush=True)
                print(json.dumps({"said": ["1 of nobody's"]}), flush=True)
                break
            case _ if os.path.exists("dying"):
                os.abort()
        said.append(f"{os.getpid()} {text}")
    else:
        print(json.dumps({"said": said}), flush=True)
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Espeak]:
    """Gives the texts back, with the number of the process that read them."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    monkeypatch.setattr(espeak, "_CHILD", child)
    monkeypatch.setattr(espeak, "READ_S", 2.0)
    monkeypatch.chdir(tmp_path)
    reader = Espeak("scripted", list)
    yield reader
    reader.end()


@pytest.fixture
def real() -> Iterator[Espeak]:
    reader = Espeak("espeak-ng", bundled)
    yield reader
    reader.end()


def process_of(reader: Espeak) -> int:
    assert reader.pid is not None
    return reader.pid


def say(reader: Espeak, text: str) -> str:
    """Without the process's number."""
    return reader.read("en-us", [text])[0].split(" ", 1)[1]


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    ("text", "why", "status", "times"),
    [
        ("die", "ConnectionError", -signal.SIGABRT, espeak.ATTEMPTS),
        ("hang", "TimeoutError", -signal.SIGKILL, 1),
    ],
)
def test_a_text_that_it_does_not_survive_is_left_out_and_the_next_is_read(
    scripted: Espeak, text: str, why: str, status: int, times: int
) -> None:
    say(scripted, "one")
    with capture_logs() as logs, pytest.raises(Unspeakable):
        scripted.read("en-us", ["fine", text])
    assert [(line["event"], line["why"], line["status"]) for line in logs] == [
        ("espeak_ended", why, status)
    ] * times
    assert say(scripted, "two") == "two"


def test_what_another_text_has_done_to_it_harms_no_next_one(
    scripted: Espeak, tmp_path: Path
) -> None:
    text = f"die once {tmp_path / 'flag'}"
    assert say(scripted, text) == text


def test_a_process_that_was_killed_is_replaced_unheard(scripted: Espeak) -> None:
    say(scripted, "one")
    os.kill(process_of(scripted), signal.SIGKILL)
    assert say(scripted, "two") == "two"


def test_one_that_can_be_started_no_more_says_so_and_starts_when_it_can(
    scripted: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    before = open_files()
    for broken in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", broken)
        with pytest.raises(EspeakFailed, match="cannot be started"):
            say(scripted, "one")
    monkeypatch.setattr(sys, "executable", "no\0python")
    with pytest.raises(ValueError, match="null byte"):
        say(scripted, "one")
    assert open_files() == before
    monkeypatch.setattr(sys, "executable", python)
    assert say(scripted, "one") == "one"


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE])
def test_no_room_for_a_process_is_no_fault_of_the_voice(
    scripted: Espeak, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", full)
        with pytest.raises(AtCapacity) as told:
            say(scripted, "one")
    assert not is_fault(told.value)
    assert open_files() == before
    assert say(scripted, "one") == "one"


def test_when_it_ends_at_every_text_it_is_not_the_texts_fault(
    scripted: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying").touch()
    with pytest.raises(EspeakFailed, match="every text"):
        say(scripted, "one")
    monkeypatch.setattr(g2p, "ESPEAK", scripted)
    with pytest.raises(TtsFailed) as told:
        phonemes_of("one", "en-us")
    assert is_fault(told.value)
    (tmp_path / "dying").unlink()
    assert say(scripted, "one") == "one"


def test_what_it_keeps_of_its_texts_does_not_grow_without_end(
    scripted: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(espeak, "MOST_CALLS", 3)
    with capture_logs() as logs:
        read = [scripted.read("en-us", [str(n)])[0].split() for n in range(7)]
    assert [text for _, text in read] == [str(n) for n in range(7)]
    assert len({process for process, _ in read}) == 3
    assert logs == []


def test_what_it_refuses_is_told_to_the_log_and_not_to_the_client(
    scripted: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(scripted, "one")
    process = process_of(scripted)
    with pytest.raises(EspeakFailed, match="no such language"):
        say(scripted, "refuse")
    monkeypatch.setattr(g2p, "ESPEAK", scripted)
    with pytest.raises(TtsFailed, match=r"^This text could not be turned into sounds\.$"):
        phonemes_of("refuse", "en-us")
    assert say(scripted, "two") == "two"
    assert process_of(scripted) == process


def test_an_answer_that_is_none_is_given_to_nobody(scripted: Espeak) -> None:
    with pytest.raises(ValueError, match="JSON"):
        say(scripted, "babble")
    assert say(scripted, "two") == "two"


def test_eight_threads_get_their_own_answers_while_it_ends_again_and_again(
    scripted: Espeak,
) -> None:
    def ask(number: int) -> str:
        if number % 10 == 5:
            with pytest.raises(Unspeakable):
                say(scripted, "die")
            return ""
        return say(scripted, f"text {number}")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(60)))
    assert answers == ["" if n % 10 == 5 else f"text {n}" for n in range(60)]


def test_nothing_is_left_of_those_that_ended(scripted: Espeak) -> None:
    say(scripted, "one")
    before = open_files()
    for _ in range(10):
        with pytest.raises(Unspeakable):
            say(scripted, "die")
    say(scripted, "two")
    assert open_files() == before
    last = process_of(scripted)
    scripted.end()
    assert not Path(f"/proc/{last}").exists()  # nor a zombie


@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"])
def test_it_ends_with_the_process_that_asks_however_that_ends(ending: str) -> None:
    program = f"""
import os
from pipeline.engines import g2p
g2p.phonemes("Hello.", "en-us")
print(g2p.ESPEAK.pid, flush=True)
{ending}
"""
    command = [sys.executable, "-X", "dev", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    pid = int(done.stdout)
    assert "espeak.py" not in done.stderr
    assert "unclosed" not in done.stderr
    assert "still running" not in done.stderr
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline, "it outlives the server"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # nobody reaps it here


def test_ctrl_c_is_not_for_it_nor_are_the_keys(
    real: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_API_KEY", "sk-secret")
    real.read("en-us", ["Hello."])
    pid = process_of(real)
    assert os.getsid(pid) == pid
    assert b"ANTIPHON" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_what_people_said_is_left_nowhere(real: Espeak) -> None:
    program = """
from pipeline.engines.espeak import Espeak, bundled
Espeak("espeak-ng", bundled).read("en-us", ["s'" * 220])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "Unspeakable" in done.stderr
    assert "overflow" not in done.stderr  # what the C library says as it ends a process
    real.read("en-us", ["Hello."])
    limits = Path(f"/proc/{process_of(real)}/limits").read_text()
    assert re.search(r"^Max core file size +1 +1 ", limits, re.M)


def test_a_read_that_nobody_waits_for_ends_by_itself(tmp_path: Path) -> None:
    """A library in a loop does not hear that its input has closed."""
    source = Path(espeak_child.__file__).read_text()
    child = tmp_path / "child.py"
    child.write_text(
        source.replace(f"LONGEST_S = {espeak_child.LONGEST_S}", "LONGEST_S = 1").replace(
            "    return read\n", "    return lambda *_: ctypes.CDLL(None).pause()\n"
        )
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", child, "espeak-ng", *bundled()],
        input=b'["en-us", ["hello"]]\n', capture_output=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGALRM, done.stderr


def test_one_that_has_refused_a_text_is_not_ended_for_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(language: str, text: str) -> str:
        raise RuntimeError("no such language")

    alarms: list[int] = []
    monkeypatch.setattr(espeak_child.signal, "alarm", alarms.append)
    answer = espeak_child.answer_to(b'["xx", ["one", "two"]]', refuse)
    assert answer == {"error": "no such language"}
    assert alarms == [espeak_child.LONGEST_S, 0]


@pytest.mark.parametrize("text", ["s'" * 220, "a." * 2000, "A.+" * 320])
@pytest.mark.parametrize("language", ["en-us", "es", "hi"])
def test_the_texts_that_end_espeak_end_nothing_else(real: Espeak, text: str, language: str) -> None:
    """Whether they do goes by espeak's version and by chance; what follows does not."""
    with suppress(Unspeakable):
        assert real.read(language, [text])[0]
    assert real.read("en-us", ["hello"]) == ["həlˈo^ʊ"]


def test_a_clause_that_cannot_be_read_is_skipped_and_no_fault_of_the_engine(
    scripted: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(g2p, "ESPEAK", scripted)
    with pytest.raises(Unspeakable):
        phonemes_of("die", "en-us")


def test_a_missing_library_is_told() -> None:
    reader = Espeak("espeak-ng", lambda: ("/nowhere/libespeak-ng.so", "/nowhere"))
    with pytest.raises(EspeakFailed, match=r"/nowhere/libespeak-ng\.so"):
        reader.read("en-us", ["hello"])


def test_missing_voices_are_told() -> None:
    reader = Espeak("espeak-ng", lambda: (bundled()[0], "/nowhere"))
    with pytest.raises(EspeakFailed, match="no voices in /nowhere"):
        reader.read("en-us", ["hello"])


def test_an_unknown_language_is_told(real: Espeak) -> None:
    with pytest.raises(EspeakFailed, match="no language 'xx'"):
        real.read("xx", ["hello"])


def readers() -> list[object]:
    no_piper = pytest.mark.skipif(find_spec("piper") is None, reason="make setup EXTRAS=piper")
    return ["espeak-ng", pytest.param("piper", marks=no_piper)]


@pytest.mark.parametrize("name", readers())
def test_nothing_of_a_text_is_read_with_the_next_one(name: str) -> None:
    reader = Espeak(name, bundled if name == "espeak-ng" else lambda: sys.path)
    try:
        alone = reader.read("en-us", ["hello"])
        for before in ("hello..", "a..b..", "(x", "well..,"):
            assert reader.read("en-us", [before, "hello"])[1:] == alone
    finally:
        reader.end()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-us", "The quick brown fox read what it had read on 3 May 2024"),
        ("en-gb", "a car, a bottle; and the rest of it"),
        ("es", "¿Dónde está la biblioteca? Compré 25 libros"),
        ("fr-fr", "les amis de l'été regardent le show business"),
        ("hi", "नमस्ते दुनिया, यह एक computer है"),
        ("it", "buongiorno a tutti, ho comprato tre gelati"),
        ("pt-br", "bom dia, eu não sei o que é isso"),
    ],
)
def test_reads_as_phonemizer_has_espeak_read(language: str, text: str, real: Espeak) -> None:
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    theirs = EspeakBackend(
        language, with_stress=True, tie="^", language_switch="keep-flags",
        preserve_punctuation=False, punctuation_marks="§",
    ).phonemize([text], strip=True)  # fmt: skip
    ours = real.read(g2p.ESPEAK_VOICES.get(language, language), [text])
    assert " ".join(ours[0].split()) == " ".join(theirs[0].split())
