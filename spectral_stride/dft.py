"""The real DFT of one axis as matrices: its cosine and sine rows, the weights of its bins."""

import math

from spectral_stride.arrays import Array, DType, array_namespace, device

# Some libraries count in 32 bits: no phase on its way to a residue modulo N may reach 2^31.
_PHASE_BITS = 30


def gain(norm: str, size: int, out_size: int) -> float:
    """What a constant signal is multiplied by."""
    return {"forward": 1.0, "ortho": math.sqrt(size / out_size), "backward": size / out_size}[norm]


def bin_weights(bins: Array, out_size: int, dtype: DType) -> Array:
    """Weight w_k in an inverse real transform: 1 on bins without a conjugate twin, 2 elsewhere."""
    xp = array_namespace(bins)
    alone = (bins == 0) | (2 * bins == out_size)
    return 2 - xp.astype(alone, dtype)


def waves(bins: Array, size: int, dtype: DType) -> Array:
    """Rows cos(2 pi k i/N) of integer bins k, then the rows sin(2 pi k i/N): (2 bins, N)."""
    xp = array_namespace(bins)
    k = bins[:, None]
    i = xp.arange(size, dtype=bins.dtype, device=device(bins))[None, :]
    # k i modulo N by Horner's rule, over digits of k so short that their product with i fits; one
    # digit is the whole of k up to N = 2^14.
    bits = _PHASE_BITS - size.bit_length()
    residue = 0
    for digit in reversed(range(math.ceil(size.bit_length() / bits))):
        short = k // 2 ** (bits * digit) % 2**bits
        residue = (residue * 2**bits + short * i) % size
    # Around zero: the smaller the angle, the smaller its rounding. (Shifting the phase by half a
    # turn inside the remainder would say the same, but torch's compiler gets that wrong.)
    residue = xp.where(2 * residue > size, residue - size, residue)
    angle = xp.astype(residue, dtype) * (2 * math.pi / size)
    return xp.concat([xp.cos(angle), xp.sin(angle)], axis=0)


def on_both(level: Array) -> Array:
    """Values of bins as a column: for their cosines, and once more for their sines."""
    return array_namespace(level).concat([level, level], axis=0)[:, None]


def transposed(rows: Array) -> Array:
    """Transpose a matrix by a plain permutation, for which every kind of vmap has a rule."""
    return array_namespace(rows).permute_dims(rows, (1, 0))
