"""Whisper's models on disk: where one lies, and what it understands. Nothing is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import ModelMissing
from pipeline.models import MODELS, locate

FILES = ("model.bin", "config.json", "tokenizer.json")
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")


def whisper_folder(models_dir: Path, name: str) -> Path:
    """The folder of a model in CTranslate2's format: one of the manifest's, or one that was put
    there. Raises `ModelMissing` with the mend."""
    model = f"whisper-{name}"
    if any(model == known.name for known in MODELS):
        return locate(models_dir, model)
    folder = models_dir / model
    lacking = [file for file in FILES if not (folder / file).is_file()]
    if lacking:
        raise ModelMissing(
            f"{folder} lacks {', '.join(lacking)}: put a Whisper in CTranslate2's format there,"
            " such as a faster-whisper-... repository of the Hugging Face hub"
        )
    return folder


def is_here(models_dir: Path, name: str) -> bool:
    """Whether the model can be loaded."""
    try:
        whisper_folder(models_dir, name)
    except ModelMissing:
        return False
    return True


def languages_in(folder: Path) -> frozenset[str]:
    """What a multilingual model understands, by its tokenizer: ISO 639-1 codes, and some of
    Whisper's own. Reads 2 MB."""
    return frozenset(_LANGUAGE.findall((folder / "tokenizer.json").read_text()))
