"""Kokoro's graph, changed so that it does not voice silence.

Before and after the words of a clause the model makes 0.7 to 0.9 s of quiet, which is trimmed away.
Making it costs as much as speech: for "Sure." more than half of the work. Here the frames are cut
out after pitch and energy are predicted, over all of them, and before the vocoder, which is nine
tenths of the cost, makes samples of them. Figures: docs/decisions/0006-first-clause.md.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, parser

from pipeline.engines.kokoro_sound import LEAD_FRAMES, TAIL_FRAMES, TRIM_LOSS

_DURATIONS = "/encoder/Clip_output_0"
"""Frames a token, shape (1, tokens)."""
_ALIGNED = "/encoder/MatMul_1_output_0"
"""Text features, shape (1, 512, frames)."""
_PITCH, _ENERGY = "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"
"""Shape (1, 2 * frames)."""
_AUDIO = "audio"

_DOMAIN = "antiphon"
_CUT = f"""
<domain: "antiphon", opset_import: ["": 20]>
CutSilence (durations, last_sound, aligned, pitch, energy)
    => (aligned_cut, pitch_cut, energy_cut, gain)
{{
    zero = Constant <value_ints: ints = [0]> ()
    one = Constant <value_ints: ints = [1]> ()
    two = Constant <value_ints: ints = [2]> ()
    nothing = Constant <value_floats: floats = [0.0]> ()
    lead = Constant <value_floats: floats = [{LEAD_FRAMES:.1f}]> ()
    tail = Constant <value_floats: floats = [{TAIL_FRAMES:.1f}]> ()
    first_axis = Constant <value_int: int = 0> ()

    frames = Squeeze (durations, zero)
    ends = CumSum (frames, first_axis)
    all = ReduceMax <keepdims: int = 1> (ends)

    pad = Slice (frames, zero, one)
    early = Sub (pad, lead)
    begin = Max (early, nothing)
    last_end = Gather (ends, last_sound)
    last_frames = Gather (frames, last_sound)
    last_begin = Sub (last_end, last_frames)
    late = Add (last_begin, tail)
    end = Min (late, all)

    kept = Sub (end, begin)
    share = Div (all, kept)
    loss = Constant <value_float: float = {TRIM_LOSS}> ()
    gain = Pow (share, loss)
    from = Cast <to: int = 7> (begin)
    to = Cast <to: int = 7> (end)
    from_half = Mul (from, two)
    to_half = Mul (to, two)
    aligned_cut = Slice (aligned, from, to, two)
    pitch_cut = Slice (pitch, from_half, to_half, one)
    energy_cut = Slice (energy, from_half, to_half, one)
}}
"""


def without_silence(file: Path) -> bytes:
    """The model with an input more: `last_sound`, the index of the last token that is voiced, shape
    (1,).

    The vocoder normalises over time: with less silence in it the same speech comes out quieter, by
    two to five decibels, so the samples are scaled up again (to within one, measured). Blocks for
    about 0.6 s. Raises `KeyError` when the file is another export of the model.
    """
    model = onnx.load(str(file))
    graph = model.graph
    maker = {output: node for node in graph.node for output in node.output}
    for tensor in (_ALIGNED, _PITCH, _ENERGY, _AUDIO):
        outputs = maker[tensor].output
        outputs[list(outputs).index(tensor)] = f"{tensor}/uncut"
    cut = helper.make_node(
        "CutSilence",
        [_DURATIONS, "last_sound", *(f"{t}/uncut" for t in (_ALIGNED, _PITCH, _ENERGY))],
        [_ALIGNED, _PITCH, _ENERGY, "gain"],
        domain=_DOMAIN,
    )
    graph.node.extend([cut, helper.make_node("Mul", [f"{_AUDIO}/uncut", "gain"], [_AUDIO])])
    graph.input.append(helper.make_tensor_value_info("last_sound", TensorProto.INT64, [1]))
    model.functions.append(parser.parse_function(_CUT))
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return bytes(model.SerializeToString())
