"""Networks with the shapes of Kokoro-82M and of Whisper large-v3-turbo, in PyTorch alone, with
random weights: what they say is nothing, what they cost is about the same. For machines where
PyTorch is all there is. No numpy here."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STYLE = 128
FRAME_S = 0.025
"""Audio of one of Kokoro's frames."""
FRAMES_A_TOKEN = 3
HOP, FFT = 5, 20
MEL_FRAMES_S = 100
"""Of Whisper's spectrogram, a second."""


class _Norm(nn.Module):
    """Instance normalisation whose scale and shift come from the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.style = nn.Linear(STYLE, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None].chunk(2, 1)
        normal: Tensor = functional.instance_norm(x) * (1 + scale) + shift
        return normal


class _Block(nn.Module):
    """Two normalised convolutions beside a shortcut; the last of a row doubles the rate."""

    def __init__(self, channels: int, out: int, *, doubles: bool = False) -> None:
        super().__init__()
        self.norms = nn.ModuleList((_Norm(channels), _Norm(out)))
        self.convs = nn.ModuleList(
            (nn.Conv1d(channels, out, 3, padding=1), nn.Conv1d(out, out, 3, padding=1))
        )
        self.short = nn.Conv1d(channels, out, 1) if channels != out else nn.Identity()
        self.doubles = doubles

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = functional.leaky_relu(self.norms[0](x, style), 0.2)
        if self.doubles:
            x, y = x.repeat_interleave(2, -1), y.repeat_interleave(2, -1)
        y = functional.leaky_relu(self.norms[1](self.convs[0](y), style), 0.2)
        sound: Tensor = (self.convs[1](y) + self.short(x)) * math.sqrt(0.5)
        return sound


class _Resonance(nn.Module):
    """The vocoder's residual block: three dilations, each with two convolutions and sines."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_Norm(channels) for _ in range(6))
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=wide, padding=wide * (kernel - 1) // 2)
            for wide in (1, 1, 3, 1, 5, 1)
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        for at in (0, 2, 4):
            y = x
            for step in (at, at + 1):
                y = self.norms[step](y, style)
                y = self.convs[step](y + torch.sin(y) ** 2)
            x = x + y
        return x


class KokoroShape(nn.Module):
    """Tokens to sound: a transformer of twelve passes, recurrent layers, and the vocoder, which is
    most of the work."""

    def __init__(self, *, small: bool = False) -> None:
        super().__init__()
        wide = 512 if not small else 32
        bert = 768 if not small else 32
        self.passes = 12 if not small else 1
        self.embed = nn.Embedding(178, bert)
        self.bert = nn.TransformerEncoderLayer(
            bert, 12 if not small else 2, 2_048 if not small else 32, batch_first=True
        )
        self.narrow = nn.Linear(bert, wide)
        self.recurrent = nn.ModuleList(
            nn.LSTM(wide, wide // 2, batch_first=True, bidirectional=True) for _ in range(5)
        )
        self.shared = nn.LSTM(wide, wide // 2, batch_first=True, bidirectional=True)
        self.curves = nn.ModuleList(_Block(wide, wide) for _ in range(6))
        self.decoder = nn.ModuleList(
            (
                _Block(wide, 2 * wide),
                *(_Block(2 * wide, 2 * wide) for _ in range(3)),
                _Block(2 * wide, wide, doubles=True),
            )
        )
        self.ups = nn.ModuleList(
            (
                nn.ConvTranspose1d(wide, wide // 2, 20, 10, padding=5),
                nn.ConvTranspose1d(wide // 2, wide // 4, 12, 6, padding=3),
            )
        )
        self.sources = nn.ModuleList((_Resonance(wide // 2, 7), _Resonance(wide // 4, 11)))
        self.resonances = nn.ModuleList(
            _Resonance(channels, kernel)
            for channels in (wide // 2, wide // 4)
            for kernel in ((3, 7, 11) if not small else (3,))
        )
        self.post = nn.Conv1d(wide // 4, FFT + 2, 7, padding=3)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(FFT))

    def forward(self, tokens: Tensor, style: Tensor) -> Tensor:
        """(batch, n) and (batch, STYLE) -> audio (batch, samples), `FRAMES_A_TOKEN` a token."""
        x = self.embed(tokens)
        for _ in range(self.passes):
            x = self.bert(x)
        x = self.narrow(x)
        for layer in self.recurrent:
            x = layer(x)[0]
        x = x.repeat_interleave(FRAMES_A_TOKEN, 1)
        curve = self.shared(x)[0].transpose(1, 2)
        for block in self.curves:
            curve = block(curve, style)
        x = x.transpose(1, 2) + curve
        for block in self.decoder:
            x = block(x, style)
        each = len(self.resonances) // 2
        for step in range(2):
            x = self.ups[step](functional.leaky_relu(x, 0.1))
            x = x + self.sources[step](torch.randn_like(x), style)
            own = self.resonances[step * each : (step + 1) * each]
            x = torch.stack([block(x, style) for block in own]).mean(0)
        loud, phase = self.post(functional.leaky_relu(x)).float().chunk(2, 1)
        spectrum = torch.polar(loud.clamp(max=1).exp(), phase.sin())
        return torch.istft(spectrum, FFT, HOP, FFT, self.window)


class WhisperShape(nn.Module):
    """A spectrogram to so many tokens, greedily; without a cache of keys, so a little too slow."""

    def __init__(self, *, small: bool = False) -> None:
        super().__init__()
        wide, heads = (1_280, 20) if not small else (32, 2)
        shape: dict[str, Any] = {"d_model": wide, "nhead": heads, "dim_feedforward": 4 * wide}
        self.first = nn.Conv1d(128, wide, 3, padding=1)
        self.second = nn.Conv1d(wide, wide, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(**shape, batch_first=True, norm_first=True)
            for _ in range(32 if not small else 1)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(**shape, batch_first=True, norm_first=True)
            for _ in range(4 if not small else 1)
        )
        self.embed = nn.Embedding(51_866, wide)

    def forward(self, mel: Tensor, tokens: int) -> Tensor:
        """(batch, 128, frames) -> (batch, tokens)."""
        x = functional.gelu(self.second(functional.gelu(self.first(mel)))).transpose(1, 2)
        for layer in self.encoder:
            x = layer(x)
        said = torch.zeros(len(mel), 1, dtype=torch.long, device=mel.device)
        for _ in range(tokens):
            y = self.embed(said)
            for layer in self.decoder:
                y = layer(y, x)
            following = (y[:, -1] @ self.embed.weight.T).argmax(-1, keepdim=True)
            said = torch.cat((said, following), 1)
        return said[:, 1:]
