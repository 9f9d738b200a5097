"""Silero's graph, rewritten for batches: the same weights and the same sums in fewer, larger steps.

As it is published it holds a model for either rate, and finds out at every call which is meant; and
its convolutions, made for long stretches, are done one session after the other on four columns.
Here each is one matrix product over all sessions. Figures: docs/decisions/0010-the-edge.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

_BATCHED = """
<ir_version: 8, opset_import: ["": 16]>
silero (float[n, 512] frames, float[n, 320] states) => (float[n] probabilities, float[n, 320] after)
<int64[1] axis = {1}, int64[1] first = {0}, int64[3] state_parts = {64, 128, 128},
 int64[2] halves = {129, 129}, int64[2] to_windows = {-1, 256}, int64[4] mirror = {0, 0, 0, 64},
 int64[4] both_ends = {0, 129, 0, 129}, int64[4] front_1 = {0, 128, 0, 0},
 int64[2] to_spectrum = {-1, 516}, int64[2] to_triples_0 = {-1, 387},
 int64[2] to_row_1 = {-1, 512}, int64[2] to_triples_1 = {-1, 384}, int64[2] to_row_2 = {-1, 128},
 int64[1] at_0 = {0}, int64[1] at_128 = {128}, int64[1] at_129 = {129}, int64[1] at_256 = {256},
 int64[1] at_258 = {258}, int64[1] at_384 = {384}, int64[1] at_387 = {387},
 int64[1] at_448 = {448}, int64[1] at_512 = {512}, int64[1] at_516 = {516},
 int64[1] at_576 = {576}, int64[1] at_640 = {640}, int64[1] at_645 = {645},
 int64[1] at_774 = {774}>
{
    context, hidden, cell = Split <axis = 1> (states, state_parts)
    heard = Concat <axis = 1> (context, frames)

    # A spectrum of each of four windows of 256 samples, 128 apart.
    mirrored = Pad <mode = "reflect"> (heard, mirror)
    window_1 = Slice (mirrored, at_0, at_256, axis)
    window_2 = Slice (mirrored, at_128, at_384, axis)
    window_3 = Slice (mirrored, at_256, at_512, axis)
    window_4 = Slice (mirrored, at_384, at_640, axis)
    four = Concat <axis = 1> (window_1, window_2, window_3, window_4)
    windows = Reshape (four, to_windows)
    waves = MatMul (windows, basis)
    real, imaginary = Split <axis = 1> (waves, halves)
    real_2 = Mul (real, real)
    imaginary_2 = Mul (imaginary, imaginary)
    power = Add (real_2, imaginary_2)
    size = Sqrt (power)

    # Convolutions, three wide: each output's three inputs side by side, times the weights.
    spectrum = Reshape (size, to_spectrum)
    spectrum_padded = Pad (spectrum, both_ends)
    near_1 = Slice (spectrum_padded, at_0, at_387, axis)
    near_2 = Slice (spectrum_padded, at_129, at_516, axis)
    near_3 = Slice (spectrum_padded, at_258, at_645, axis)
    near_4 = Slice (spectrum_padded, at_387, at_774, axis)
    near = Concat <axis = 1> (near_1, near_2, near_3, near_4)
    triples_0 = Reshape (near, to_triples_0)
    sums_0 = Gemm (triples_0, weight_0, bias_0)
    out_0 = Relu (sums_0)

    row_1 = Reshape (out_0, to_row_1)
    row_1_padded = Pad (row_1, front_1)
    pair_1 = Slice (row_1_padded, at_0, at_384, axis)
    pair_2 = Slice (row_1_padded, at_256, at_640, axis)
    pairs = Concat <axis = 1> (pair_1, pair_2)
    triples_1 = Reshape (pairs, to_triples_1)
    sums_1 = Gemm (triples_1, weight_1, bias_1)
    out_1 = Relu (sums_1)

    # Of the last two the outer inputs are padding: two are left, then one.
    row_2 = Reshape (out_1, to_row_2)
    sums_2 = Gemm (row_2, weight_2, bias_2)
    out_2 = Relu (sums_2)
    sums_3 = Gemm (out_2, weight_3, bias_3)
    out_3 = Relu (sums_3)

    sequence = Unsqueeze (out_3, first)
    hidden_before = Unsqueeze (hidden, first)
    cell_before = Unsqueeze (cell, first)
    all, hidden_last, cell_last = LSTM <hidden_size = 128>
        (sequence, weight_in, weight_back, bias_in, , hidden_before, cell_before)
    hidden_after = Squeeze (hidden_last, first)
    cell_after = Squeeze (cell_last, first)
    lit = Relu (hidden_after)
    sums = Gemm (lit, weight_out, bias_out)
    column = Sigmoid (sums)
    probabilities = Squeeze (column, axis)

    context_after = Slice (heard, at_512, at_576, axis)
    after = Concat <axis = 1> (context_after, hidden_after, cell_after)
}
"""


def batched(file: Path) -> bytes:
    """The model for 16 kHz from frames (n, 512) and states (n, 320), which are its context and its
    recurrent state, to probabilities (n,) and the states after. Blocks for some 30 ms.

    Raises `KeyError` when the file is another export of the model.
    """
    theirs = _weights(onnx.load(str(file)).graph)
    model = parser.parse_model(_BATCHED)
    encoder = [theirs[f"encoder.{layer}.reparam_conv.weight"] for layer in range(4)]
    ours = {
        "basis": theirs["stft.forward_basis_buffer"][:, 0].T,
        "weight_0": _rows(encoder[0]),
        "weight_1": _rows(encoder[1]),
        "weight_2": _rows(encoder[2][:, :, 1:]),
        "weight_3": _rows(encoder[3][:, :, 1:2]),
        "weight_in": _gates(theirs["decoder.rnn.weight_ih"])[np.newaxis],
        "weight_back": _gates(theirs["decoder.rnn.weight_hh"])[np.newaxis],
        "bias_in": np.concatenate(
            [_gates(theirs[f"decoder.rnn.bias_{side}"]) for side in ("ih", "hh")]
        )[np.newaxis],
        "weight_out": theirs["decoder.decoder.2.weight"][0],
        "bias_out": theirs["decoder.decoder.2.bias"],
    }
    for layer in range(4):
        ours[f"bias_{layer}"] = theirs[f"encoder.{layer}.reparam_conv.bias"]
    for name, values in ours.items():
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _weights(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """The constants of the branch for 16 kHz, by their names in Silero's own code."""
    (choice,) = (node for node in graph.node if node.op_type == "If")
    (branch,) = (part.g for part in choice.attribute if part.name == "then_branch")
    return {
        node.output[0].rpartition("__")[2]: numpy_helper.to_array(node.attribute[0].t)
        for node in branch.node
        if node.op_type == "Constant"
    }


def _rows(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A convolution's weights (out, in, width) for inputs that lie side by side in time."""
    return weight.transpose(2, 1, 0).reshape(-1, len(weight))


def _gates(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """From PyTorch's order to ONNX's: (input, output, forget, cell)."""
    into, forget, cell, output = np.split(weight, 4)
    return np.concatenate((into, output, forget, cell))
