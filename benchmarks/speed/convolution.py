"""The convolution whose stride is learned, beside the one whose stride is not."""

from functools import partial

from torch import nn

from benchmarks.speed.cases import STRIDE, Case
from benchmarks.speed.modules import Built, all_parameters, module_peer
from benchmarks.speed.rows import Row, Setting, measure
from spectral_stride.torch import DiffStride, DiffStrideConv2d

QUESTION = "What does DiffStrideConv2d cost beside a strided convolution?"
# Input, and channels of the output.
LAYERS = (
    ((32, 64, 32, 32), 128),
    ((32, 128, 16, 16), 256),
    ((8, 64, 56, 56), 128),
    ((8, 3, 112, 112), 64),
)
TINY = (((2, 3, 16, 16), 8),)
KERNEL = 3
STRIDED = "strided conv"
OURS = "DiffStrideConv2d"
BOTH = "conv, then our layer"


def strided(case: Case, channels: int) -> Built:
    """The plain convolution with a stride."""
    padding = KERNEL // 2
    conv = nn.Conv2d(case.shape[1], channels, KERNEL, int(STRIDE), padding)
    return all_parameters(conv)


def fused(case: Case, channels: int) -> Built:
    """The layer that is asked about."""
    padding = KERNEL // 2
    conv = DiffStrideConv2d(
        case.shape[1], channels, KERNEL, STRIDE, padding=padding, ramp=case.ramp
    )
    assert conv.bias is not None
    return conv, [conv.weight, conv.bias, conv.strides]


def both(case: Case, channels: int) -> Built:
    """The two layers that define it."""
    conv = nn.Conv2d(case.shape[1], channels, KERNEL, padding=KERNEL // 2)
    down = DiffStride(STRIDE, ramp=case.ramp)
    assert conv.bias is not None
    return nn.Sequential(conv, down), [conv.weight, conv.bias, down.strides]


def run(setting: Setting) -> list[Row]:
    """Measure every layer with the ramp that has the sizes of a strided convolution."""
    rows = []
    for shape, channels in TINY if setting.tiny else LAYERS:
        case, device = Case(shape, "inside"), setting.device
        peers = [
            module_peer(
                name,
                case,
                device,
                partial(build, case, channels),
                partial(same, case, channels),
            )
            for name, build, same in (
                (STRIDED, strided, strided),
                (OURS, fused, both),
                (BOTH, both, both),
            )
        ]
        rows += measure(peers, case, STRIDED, setting)
    return rows
