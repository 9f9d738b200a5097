"""Several clauses through one `kokoro.KModel` at once, each as if it were alone.

The model was written for one clause at a time: its normalisations take statistics over all of time,
its recurrent layers run to the last frame, and its convolutions see zeros past the end. Here every
clause of a batch has a length, and these three are told: statistics are taken over a clause's own
frames, recurrent layers are packed, and what lies past its end is zero before every convolution.
The modules' own `forward` is used throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.engines.kokoro_sound import LEAD_FRAMES, TAIL_FRAMES, TRIM_LOSS
from pipeline.engines.ports import Float32

FRAME_SAMPLES = 600
"""Of a frame that a token is some of: 25 ms."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause for the model: its tokens with the pad at both ends, and how to say them."""

    tokens: Sequence[int]
    style: Float32
    """Shape (1, 256)."""
    speed: float
    last_sound: int
    """Which of its tokens is the last that is voiced."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A clause's sound, and when each of its tokens is said."""

    audio: Float32
    """Shape (n,), 24 kHz."""
    starts: tuple[int, ...]
    """The sample where each token begins; past the last, where the sound ends."""


class _Ragged:
    """How long each clause of the batch is, at every width that its tensors take."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.tokens = self.frames = torch.zeros(0, dtype=torch.long)
        """Of each clause, on the CPU."""
        self.masks: dict[int, Tensor] = {}
        """A padded width -> 1 within a clause and 0 past it, shape (batch, 1, width)."""

    def lay_out(self, frames: Tensor, widths: Sequence[tuple[int, int]], device: Any) -> None:
        """Tensors will have `frames * factor + extra` elements in time, for each of `widths`."""
        self.frames = frames
        self.masks = {}
        for factor, extra in widths:
            lengths = (frames * factor + extra).to(device)
            longest = int(frames.max()) * factor + extra
            at = torch.arange(longest, device=device)
            self.masks[longest] = (at < lengths[:, None]).to(self.dtype)[:, None]


class _MaskedNorm(nn.Module):
    """`kokoro`'s AdaIN1d, with the statistics of each clause's own frames."""

    def __init__(self, norm: Any, ragged: _Ragged) -> None:
        super().__init__()
        self.inner, self._ragged = norm, ragged

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gamma, beta = self.inner.fc(style)[:, :, None].chunk(2, dim=1)
        norm = self.inner.norm
        mask = self._ragged.masks[x.shape[-1]]
        count = mask.sum(-1, keepdim=True)
        mean = (x * mask).sum(-1, keepdim=True) / count
        centred = (x - mean) * mask
        variance = centred.square().sum(-1, keepdim=True) / count
        normal = centred * torch.rsqrt(variance + norm.eps)
        scaled = normal * norm.weight[:, None] + norm.bias[:, None]
        adapted: Tensor = ((1 + gamma) * scaled + beta) * mask
        return adapted


class _PackedLstm(nn.Module):
    """An LSTM that ends, and in its other direction begins, where each clause does."""

    def __init__(self, lstm: nn.LSTM, ragged: _Ragged, of: str) -> None:
        super().__init__()
        self.inner, self._ragged, self._of = lstm, ragged, of

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        lengths: Tensor = getattr(self._ragged, self._of)
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        self.inner.flatten_parameters()
        out, _ = nn.utils.rnn.pad_packed_sequence(
            self.inner(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return out, None


class _RaggedStft(nn.Module):
    """The short-time Fourier transform and its inverse, clause by clause: both look past an end.
    They are a hundredth of the work."""

    def __init__(self, stft: Any, ragged: _Ragged) -> None:
        super().__init__()
        self.inner, self._ragged = stft, ragged

    def transform(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [
            self.inner.transform(row[None, : length * FRAME_SAMPLES])
            for row, length in zip(audio, self._ragged.frames.tolist(), strict=True)
        ]
        magnitudes, phases = zip(*pairs, strict=True)
        return _padded(magnitudes), _padded(phases)

    def inverse(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        hops = FRAME_SAMPLES // self.inner.hop_length
        rows = [
            self.inner.inverse(
                magnitude[at : at + 1, :, : length * hops + 1],
                phase[at : at + 1, :, : length * hops + 1],
            )
            for at, length in enumerate(self._ragged.frames.tolist())
        ]
        return _padded(rows)


class BatchedKokoro:
    """A loaded `KModel`, changed so that a batch of clauses can go through it. Not thread-safe."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ragged = ragged = _Ragged(model.bert_encoder.weight.dtype)
        _plain_weights(model)
        predictor, generator = model.predictor, model.decoder.generator
        for part in (predictor.F0, predictor.N, model.decoder):
            _replace_norms(part, ragged)
        for part in (predictor.F0, predictor.N, predictor.F0_proj, predictor.N_proj, model.decoder):
            for module in part.modules():
                if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                    module.register_forward_pre_hook(self._silence_past_the_end)
        predictor.lstm = _PackedLstm(predictor.lstm, ragged, "tokens")
        predictor.shared = _PackedLstm(predictor.shared, ragged, "frames")
        generator.stft = _RaggedStft(generator.stft, ragged)
        widths, factor = [(1, 0), (2, 0)], 2
        for layer in generator.ups:
            factor *= layer.stride[0]
            widths.append((factor, 0))
        self._widths = [*widths, (factor, 1)]

    @torch.inference_mode()
    def render(self, clauses: Sequence[Clause]) -> list[Rendered]:
        """All of them at once, shapes padded to the longest. Blocks."""
        model, device = self._model, self._model.device
        lengths = torch.tensor([len(clause.tokens) for clause in clauses])
        self._ragged.tokens = lengths
        ids = torch.zeros(len(clauses), int(lengths.max()), dtype=torch.long)
        for row, clause in zip(ids, clauses, strict=True):
            row[: len(clause.tokens)] = torch.tensor(clause.tokens)
        ids = ids.to(device)
        styles = torch.stack([torch.tensor(clause.style[0]) for clause in clauses])
        styles = styles.to(device, self._ragged.dtype)
        speeds = torch.tensor([clause.speed for clause in clauses], device=device)
        past_end = torch.arange(ids.shape[1])[None] >= lengths[:, None]
        past_end = past_end.to(device)

        hidden = model.bert(ids, attention_mask=(~past_end).int())
        text = model.bert_encoder(hidden).transpose(-1, -2)
        prosody = styles[:, 128:]
        states = model.predictor.text_encoder(text, prosody, lengths, past_end)
        scores = model.predictor.duration_proj(model.predictor.lstm(states)[0])
        durations = torch.sigmoid(scores).sum(-1) / speeds[:, None]
        durations = durations.round().clamp(min=1).long().masked_fill(past_end, 0)

        ends = durations.cumsum(-1)
        frames = ends[:, -1].cpu()
        self._ragged.lay_out(frames, self._widths, device)
        pitch, energy = model.predictor.F0Ntrain(_spread(states.transpose(-1, -2), ends), prosody)
        sounds = _spread(model.text_encoder(ids, lengths, past_end), ends)

        begins, kept = self._cut(clauses, durations.cpu())
        self._ragged.lay_out(kept, self._widths, device)
        begins = begins.to(device)
        longest = int(kept.max())
        pitch = _slice(pitch[:, None], 2 * begins, 2 * longest)
        # The tone's phase is drawn from frame to frame, towards the one past the end: without a
        # pitch there it stands still, as it does for a clause alone.
        pitch = pitch * self._ragged.masks[2 * longest]
        audio = model.decoder(
            _slice(sounds, begins, longest),
            pitch[:, 0],
            _slice(energy[:, None], 2 * begins, 2 * longest)[:, 0],
            styles[:, :128],
        )[:, 0]
        gains = (frames / kept) ** TRIM_LOSS
        starts = (ends - durations).cpu() - begins.cpu()[:, None]
        return [
            Rendered(
                (row[: length * FRAME_SAMPLES].float().cpu() * gain).numpy(),
                tuple(
                    FRAME_SAMPLES * min(max(0, start), length)
                    for start in (*at[: len(clause.tokens)], length)
                ),
            )
            for row, length, gain, at, clause in zip(
                audio, kept.tolist(), gains, starts.tolist(), clauses, strict=True
            )
        ]

    @staticmethod
    def _cut(clauses: Sequence[Clause], durations: Tensor) -> tuple[Tensor, Tensor]:
        """Where each clause's sound begins, and how many frames it has: most of the silence before
        and after it is not voiced (`kokoro_graph` has the reasons and the figures)."""
        ends = durations.cumsum(-1)
        last = torch.tensor([[clause.last_sound] for clause in clauses])
        begins = (durations[:, 0] - LEAD_FRAMES).clamp(min=0)
        last_begins = (ends - durations).gather(1, last)[:, 0]
        return begins, torch.minimum(last_begins + TAIL_FRAMES, ends[:, -1]) - begins

    def _silence_past_the_end(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0] * self._ragged.masks[inputs[0].shape[-1]],)


def _spread(features: Tensor, ends: Tensor) -> Tensor:
    """Features of tokens, (batch, c, tokens) -> of frames, (batch, c, frames), zero past the end;
    `ends` is each token's last frame and one."""
    at = torch.arange(int(ends[:, -1].max()), device=ends.device).expand(len(ends), -1)
    token = torch.searchsorted(ends, at.contiguous(), right=True)
    within = token < features.shape[-1]
    token = token.clamp(max=features.shape[-1] - 1)
    spread = features.gather(2, token[:, None].expand(-1, features.shape[1], -1))
    return spread * (within & (at < ends[:, -1:]))[:, None]


def _slice(x: Tensor, begins: Tensor, width: int) -> Tensor:
    """`width` elements of each row from where it begins, shape (batch, c, width)."""
    at = (begins[:, None] + torch.arange(width, device=x.device)).clamp(max=x.shape[-1] - 1)
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of shape (1, c, n), each its own n -> (batch, c, longest)."""
    longest = max(row.shape[-1] for row in rows)
    return torch.cat([nn.functional.pad(row, (0, longest - row.shape[-1])) for row in rows])


def _replace_norms(parent: nn.Module, ragged: _Ragged) -> None:
    for name, child in list(parent.named_children()):
        if hasattr(child, "fc") and hasattr(child, "norm"):
            setattr(parent, name, _MaskedNorm(child, ragged))
        else:
            _replace_norms(child, ragged)


def _plain_weights(model: nn.Module) -> None:
    """Undo weight normalisation: it makes each weight of its two parts at every call."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
