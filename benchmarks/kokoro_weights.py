"""Random weights for the `kokoro` engine, in the files that it loads: for its tests, and for
benchmarks where the real ones are not at hand. What they say is noise of a plausible length."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.g2p import TOKENS

FRAMES_A_TOKEN = 3.0
"""Of 25 ms: what a person speaks at about."""
MOST_FRAMES_A_TOKEN = 50
PITCH_HZ = 150.0
"""So that the tone generator runs: without a pitch it is left out."""


def config(*, small: bool) -> dict[str, Any]:
    """The model's shape: Kokoro-82M's, or one with a fraction of the work (the widths that the
    package has fixed stay)."""
    return {
        "n_token": 178,
        "vocab": TOKENS,
        "hidden_dim": 512,
        "style_dim": 128,
        "n_layer": 1 if small else 3,
        "max_dur": MOST_FRAMES_A_TOKEN,
        "dropout": 0.2,
        "n_mels": 80,
        "text_encoder_kernel_size": 5,
        "plbert": {
            "hidden_size": 64 if small else 768,
            "num_attention_heads": 2 if small else 12,
            "intermediate_size": 64 if small else 2_048,
            "max_position_embeddings": 512,
            "num_hidden_layers": 1 if small else 12,
            "dropout": 0.1,
        },
        "istftnet": {
            "upsample_rates": [10, 6],
            "upsample_kernel_sizes": [20, 12],
            "upsample_initial_channel": 512,
            "resblock_kernel_sizes": [3] if small else [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5]] * (1 if small else 3),
            "gen_istft_n_fft": 20,
            "gen_istft_hop_size": 5,
        },
    }


def write_model(folder: Path, *, small: bool, seed: int = 0) -> None:
    """`config.json` and the weights, into a folder that is made. Needs torch and kokoro."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    shape, weights = folder / "config.json", folder / "kokoro-v1_0.pth"
    shape.write_text(json.dumps(config(small=small)))
    torch.save({}, weights)  # what is not there is left as it was made: at random
    torch.manual_seed(seed)
    model = load(shape, weights)
    with torch.no_grad():
        duration = model.predictor.duration_proj.linear_layer
        share = FRAMES_A_TOKEN / MOST_FRAMES_A_TOKEN
        duration.weight.mul_(0.1)
        duration.bias.fill_(math.log(share / (1 - share)))
        model.predictor.F0_proj.bias.fill_(PITCH_HZ)
    parts = dict(model.named_children())
    torch.save({name: part.state_dict() for name, part in parts.items()}, weights)


def load(shape: Path, weights: Path) -> Any:
    """The package's own model, unchanged."""
    with warnings.catch_warnings():  # of what it uses that PyTorch will drop
        warnings.simplefilter("ignore")
        from kokoro.model import KModel

        return KModel("hexgrad/Kokoro-82M", config=str(shape), model=str(weights)).eval()


def write_voices(folder: Path, *names: str, seed: int = 0) -> None:
    """Voices as `kokoro-js` has them: float32 of shape (510, 1, 256), at random."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name in names:
        style = 0.3 * random.standard_normal((1, 1, 256))
        np.broadcast_to(style, (510, 1, 256)).astype("<f4").tofile(folder / f"{name}.bin")
