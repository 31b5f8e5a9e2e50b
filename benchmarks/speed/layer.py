"""The layer at the sizes of feature maps, beside all that could stand in its place.

Forward and backward, with gradients to the input and to whatever the peer learns.
"""

from benchmarks.speed.cases import Case
from benchmarks.speed.peers import (
    BY_FFT,
    FIXED,
    OURS,
    PUBLISHED,
    image_peers,
    scipy_peer,
    spectral_peer,
)
from benchmarks.speed.rows import Row, Setting, measure

QUESTION = "What does the layer cost at the sizes of feature maps, beside its peers?"
SHAPES = (
    (64, 64, 32, 32),
    (64, 128, 16, 16),
    (32, 64, 56, 56),
    (16, 64, 112, 112),
    (4, 32, 224, 224),
)
TINY = ((2, 3, 16, 16), (1, 2, 15, 12))
RAMPS = ("outside", "inside")


def run(setting: Setting) -> list[Row]:
    """Measure every shape with both ramps."""
    rows = []
    for shape in TINY if setting.tiny else SHAPES:
        for ramp in RAMPS:
            case, device = Case(shape, ramp), setting.device
            peers = [
                spectral_peer(OURS, case, device),
                spectral_peer(FIXED, case, device, learns=False),
                spectral_peer(BY_FFT, case, device, "fft"),
                spectral_peer(PUBLISHED, case, device),
                *image_peers(case, device),
            ]
            if device == "cpu":
                peers.append(scipy_peer(case))
            rows += measure(peers, case, OURS, setting)
    return rows
