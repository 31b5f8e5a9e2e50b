"""What stands still of a map: one matrix an axis, its factors, and its windows where it rolls."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from spectral_stride.fast.taps import Taps, shifted
from spectral_stride.plan import Plan
from spectral_stride.torch.map_cache import plain_crop, plain_map

Matrix = torch.Tensor
# Smallest singular value that counts, over the largest one: far below what float32 resolves.
NEGLIGIBLE = 1e-10


def of_axes(plan: Plan, strides: Sequence[float] | None) -> list[Matrix | None]:
    """The matrix (n, N) of each planned axis in float64; None where nothing changes."""
    if strides is None or plan.hard:
        op = plain_crop(plan, None, torch.empty(0, dtype=torch.float64))
    else:
        op = plain_map(torch.tensor(strides, dtype=torch.float64), plan, None, learn=False)
    return [None if one is None or one.is_identity else one.matrix for one in op.maps]


def with_taps(matrix: Matrix, taps: Taps) -> Matrix:
    """Rows (k n, N): the k taps of each output sample side by side, for a convolution at stride k.

    The same rows as `fast.taps` has, in another order.
    """
    rows: Matrix = shifted(matrix, taps).reshape(taps.kernel, -1, taps.size)
    return rows.transpose(0, 1).reshape(-1, taps.size)


def factors(matrix: Matrix) -> tuple[Matrix, Matrix] | None:
    """E and F with E F = A, the samples between them as few as can be; None where they are many.

    The k n rows of all taps are n low waves and a few samples of the border, seen k times.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((values > NEGLIGIBLE * values[0]).sum())
    if rank == min(matrix.shape):
        return None
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


class Rolled(NamedTuple):
    """An axis on which N/n is a whole number r: its map is one window, moved on by r samples.

    So neighbouring outputs share the taps of a convolution, which runs at stride r over Q samples
    in place of k n: z = ``samples`` x. But it runs round the signal: it also sees outputs that the
    convolution has beyond its ends, where some taps lie on no sample, as if they followed on the
    other end. What the map makes of those, ``wrapped``, is to be taken off again. They are the
    convolution, at stride 1, of the samples that ``ends`` takes out of x, with zeros between.
    """

    ratio: int
    samples: Matrix  # (Q, N), with Q = r (n - 1) + d (k - 1) + 1
    ends: Matrix  # (e + d (k - 1), N)
    wrapped: Matrix  # (n, e)


def rolled(matrix: Matrix, taps: Taps) -> Rolled | None:
    """Find the window of an axis's matrix (n, M), if it is the same for all outputs."""
    count, length = matrix.shape
    ratio, rest = divmod(length, count)
    reach = taps.dilation * (taps.kernel - 1)
    before, after = reach - taps.before, taps.size + taps.before - length
    if rest or not (0 <= before <= taps.size and 0 <= after <= taps.size):
        return None
    if before + after == 0:  # nothing goes round
        return None
    # a(q) with A[j, i] = a(r j - i), q modulo M.
    window = matrix[0].flip(0).roll(1)

    def at(outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return window[(outputs[:, None] - inputs) % length]

    starts = torch.arange(count) * ratio
    if not torch.allclose(at(starts, torch.arange(length)), matrix, rtol=0, atol=1e-12):
        return None
    positions = torch.arange(ratio * (count - 1) + reach + 1)
    samples = at(positions - taps.before, torch.arange(taps.size))
    ends = torch.zeros(before + after + reach, taps.size, dtype=matrix.dtype)
    ends[:after, taps.size - after :] = torch.eye(after)
    ends[after + reach :, :before] = torch.eye(before)
    beyond = torch.cat([torch.arange(length, length + after), torch.arange(-before, 0)])
    return Rolled(ratio, samples, ends, at(starts, beyond))


class Shifts(NamedTuple):
    """An axis on which N/n is a whole number r, and whose spectrum is cropped and no more.

    Each r-th sample passes as it is: the columns r m + p of the matrix are g S_p, and S_0 is the
    identity. S_p moves a signal that goes round by p/r of an output sample.
    """

    gain: float
    matrices: tuple[Matrix, ...]  # S_p (n, n)


def shifts(matrix: Matrix) -> Shifts | None:
    """Find the phases of an axis's matrix (n, N), if it has some."""
    count, length = matrix.shape
    ratio, rest = divmod(length, count)
    gain = matrix[0, 0]
    phases = tuple([matrix[:, start::ratio] / gain for start in range(ratio)])
    if rest or not torch.allclose(phases[0], torch.eye(count).to(matrix), rtol=0, atol=1e-12):
        return None
    return Shifts(float(gain), phases)
