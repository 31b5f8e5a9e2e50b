"""The two forms of the map on larger signals, in one to three dimensions."""

from benchmarks.speed.cases import Case
from benchmarks.speed.growth import FFT, LONGEST_MATMUL, MATMUL
from benchmarks.speed.peers import PUBLISHED, absent_peer, scipy_peer, spectral_peer
from benchmarks.speed.rows import Row, Setting, measure

QUESTION = "On larger signals, does 'auto' take the better of the two forms?"
SHAPES = ((8, 16, 65536), (1, 3, 2048, 2048), (1, 4, 96, 96, 96))
TINY = ((2, 3, 64), (1, 2, 16, 16), (1, 2, 8, 8, 8))
RAMPS = ("outside", "inside")
AUTO = "ours, auto"


def run(setting: Setting) -> list[Row]:
    """Measure every shape with both ramps, by matmul only where its matrices fit."""
    rows = []
    for shape in TINY if setting.tiny else SHAPES:
        for ramp in RAMPS:
            case, device = Case(shape, ramp), setting.device
            peers = [
                spectral_peer(AUTO, case, device),
                spectral_peer(FFT, case, device, "fft"),
                spectral_peer(PUBLISHED, case, device),
            ]
            if max(shape[2:]) <= LONGEST_MATMUL:
                peers.append(spectral_peer(MATMUL, case, device, "matmul"))
            else:
                peers.append(absent_peer(MATMUL, f"no matrix of an axis over {LONGEST_MATMUL}"))
            if device == "cpu":
                peers.append(scipy_peer(case))
            rows += measure(peers, case, AUTO, setting)
    return rows
