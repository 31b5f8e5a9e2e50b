"""Time and memory over the length of one axis, by both forms of the map.

The matrix of an axis is built once for all rows, so the answer depends on their number.
"""

import math
from collections.abc import Sequence

from benchmarks.speed.cases import Case
from benchmarks.speed.peers import spectral_peer
from benchmarks.speed.rows import Row, Setting, measure
from benchmarks.speed.timing import Effort

QUESTION = "How do time and memory grow with an axis, and where should 'auto' switch?"
FFT, MATMUL = "ours, fft", "ours, matmul"
# Rows, and the longest axis on which they are measured. The last is a batch of feature maps.
SERIES = ((16, 2**20), (1024, 2**13), (65536, 2**9))
TINY = ((4, 2**6), (16, 2**5))
SHORTEST = 2**4
# A matrix of this axis has 32 MB in float32, and takes a second to build.
LONGEST_MATMUL = 2**12


def run(setting: Setting) -> list[Row]:
    """Measure one axis of every power of two by both methods."""
    rows: list[Row] = []
    effort = setting.effort if setting.tiny else Effort(seconds=2.5)
    for count, longest in TINY if setting.tiny else SERIES:
        for size in powers_of_two(SHORTEST, longest):
            case = Case((1, count, size), "inside")
            peers = [spectral_peer(FFT, case, setting.device, "fft")]
            if size <= LONGEST_MATMUL:
                peers.append(spectral_peer(MATMUL, case, setting.device, "matmul"))
            rows += measure(peers, case, FFT, setting, effort=effort)
    return rows


def powers_of_two(least: int, most: int) -> list[int]:
    """All powers of two from ``least`` to ``most``, which are two of them."""
    return [2**power for power in range(int(math.log2(least)), int(math.log2(most)) + 1)]


def series(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Return the curves among the rows: number of rows of the input, and method."""
    return sorted({(row.shape[1], row.peer) for row in rows})


def switch_points(rows: Sequence[Row]) -> dict[str, int]:
    """Return, for each number of rows, the longest axis on which matmul is no slower, or 0."""
    points: dict[str, int] = {}
    for row in rows:
        if row.peer == MATMUL and row.ratio is not None:
            count = str(row.shape[1])
            won = row.shape[2] if row.ratio.median <= 1 else 0
            points[count] = max(points.get(count, 0), won)
    return points
