"""Maps built in one array library for another or another device: rows are found, not built again.

NumPy's calls on small arrays take half as long as those of a framework. A ramp's rows P and Q are
some of the rows that A is made of, and taking them out is faster than computing them.
"""

from collections.abc import Callable
from dataclasses import replace

from spectral_stride.arrays import Array, array_namespace
from spectral_stride.axis import AxisMap, Ramp, Resampling


def sent(op: Resampling, send: Callable[[list[Array]], list[Array]]) -> Resampling:
    """Return the same map with all that products need of it elsewhere, in one go.

    A device takes longer to be told of an array than to copy it. Masks and slopes stay where they
    are: they went into the matrices.
    """
    maps = [one and _handed_over(one, lambda array: array) for one in op.maps]
    places = [
        (one, name)
        for one in maps
        for name in ("_matrix", "_analysis", "_synthesis")
        if getattr(one, name, None) is not None
    ]
    arrays = send([getattr(one, name) for one, name in places]) if places else []
    for (one, name), array in zip(places, arrays, strict=True):
        setattr(one, name, array)
    return replace(op, maps=tuple(maps))


def handed_over(op: Resampling, convert: Callable[[Array], Array]) -> Resampling:
    """Return the same map in another library, whose matrices A are left to that to multiply.

    The ramps' rows on the output grid are then there in ``op`` too.
    """
    return replace(op, maps=tuple([one and _handed_over(one, convert) for one in op.maps]))


def _handed_over(one: AxisMap, convert: Callable[[Array], Array]) -> AxisMap:
    """Build the matrices of one axis, and convert what they are made of."""
    ramp = one.ramp and Ramp(*[convert(array) for array in one.ramp])
    same = replace(one, mask=convert(one.mask), ramp=ramp)
    if one.is_identity:
        if ramp is not None:
            same._ramp_rows, same._synthesis = convert(one.ramp_rows), convert(one.synthesis)
            same._analysis = convert(one.analysis)
        return same
    out_rows, in_rows = one.kept_rows()
    if one.ramp is not None:
        xp = array_namespace(out_rows)
        kept = one.mask.shape[0]
        where = xp.concat([one.ramp.bins, one.ramp.bins + kept], axis=0)
        one._ramp_rows = xp.take(out_rows, where, axis=0)
        same._ramp_rows = convert(one._ramp_rows)
        same._synthesis = convert(one.synthesis)
        same._analysis = convert(one.build_analysis(xp.take(in_rows, where, axis=0)))
    same._matrix = same.build_matrix(convert(out_rows), convert(one.levels() * in_rows))
    return same
