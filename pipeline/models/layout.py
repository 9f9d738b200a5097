"""Where models lie on disk, `models_dir/<model>/<file>`, and whether they are all there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pipeline.errors import ModelMissing, NotFound
from pipeline.models.manifest import Model, ModelFile, find

STAMP = ".verified"
"""A file beside a model's own: which manifest entry its files were hashed against."""


def default_models_dir() -> Path:
    """`antiphon/models` in the user's cache (XDG Base Directory specification), shared by all
    checkouts.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a relative path is to be ignored.
    root = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return root / "antiphon" / "models"


def missing_files(models_dir: Path, model: Model) -> tuple[ModelFile, ...]:
    """The files that are not there in their full size.

    A file gets its name only after its hash was right, so its size tells enough.
    """
    return tuple(
        file
        for file in model.files
        if not _has_size(models_dir / model.name / file.path, file.size_bytes)
    )


def is_complete(models_dir: Path, model: Model) -> bool:
    """Whether every file of the model is there."""
    return not missing_files(models_dir, model)


def locate(models_dir: Path, name: str) -> Path:
    """The directory of a complete model; raises `ModelMissing` with the mend."""
    try:
        model = find(name)
    except NotFound as error:
        raise ModelMissing(str(error)) from None
    missing = missing_files(models_dir, model)
    if missing:
        raise ModelMissing(
            f"the model {name} is not in {models_dir} ({name_some(missing)} missing): "
            f"run `antiphon models pull {name}`"
        )
    return models_dir / name


def name_some(files: tuple[ModelFile, ...]) -> str:
    """Files as a phrase that ends in its verb: "a.bin is", "a.bin and 3 more are"."""
    first, more = files[0].path, len(files) - 1
    return f"{first} and {more} more are" if more else f"{first} is"


def is_verified(models_dir: Path, model: Model) -> bool:
    """Whether the files that are there were hashed against this very manifest entry."""
    try:
        return (models_dir / model.name / STAMP).read_text() == _fingerprint(model)
    except OSError:
        return False


def mark_verified(models_dir: Path, model: Model) -> None:
    """Note that all files of the model have been hashed and are right."""
    stamp = models_dir / model.name / STAMP
    fresh = stamp.with_name(f"{STAMP}.new")
    fresh.write_text(_fingerprint(model))
    fresh.replace(stamp)


def _fingerprint(model: Model) -> str:
    files = "\n".join(f"{file.sha256} {file.path}" for file in model.files)
    return hashlib.sha256(files.encode()).hexdigest()


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False
