"""The operator in HIPS autograd: reverse mode, and forward mode of every order in the input."""

from autograd.extend import defjvp, defvjp, primitive

import spectral_stride as ss


@primitive
def resample(x, strides, plan):
    """A(s) x, as autograd sees it: a function of arrays without an inside."""
    return ss.diffstride(x, strides, plan=plan)


defvjp(
    resample,
    lambda y, x, strides, plan: lambda g: ss.vjp(x, strides, plan=plan)[1](g)[0],
    lambda y, x, strides, plan: lambda g: ss.vjp(x, strides, plan=plan)[1](g)[1],
)
defjvp(
    resample,
    lambda dx, y, x, strides, plan: resample(dx, strides, plan),
    lambda ds, y, x, strides, plan: ss.jvp(x, strides, None, ds, plan=plan)[1],
)


def diffstride(x, strides, *, plan=None, **options):
    """Resample; sizes are planned before autograd sees anything."""
    return resample(x, strides, plan or ss.make_plan(x.shape, strides, **options))
