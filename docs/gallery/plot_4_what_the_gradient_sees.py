"""
What the gradient sees
======================

A stride can learn because a small change of it changes the output a little. This page shows which
part of the output that is, and where the slope jumps.
"""

import matplotlib.pyplot as plt
import numpy as np

import spectral_stride as ss

# %%
# Only the ramp
# -------------
#
# Let the stride grow a little. The mask moves down, but only on its ramp. The bins before it pass
# in full as before, and those behind it are blocked as before. So the gradient of the stride
# reads those few bins, about as many as the ramp is wide, and nothing else.

size, stride, step = 64, 2.5, 0.05
bins = np.arange(size // 2 + 1)
before, after = ss.soft_mask(size, stride), ss.soft_mask(size, stride + step)

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.plot(bins, before, "o-", markersize=4, label=f"the mask at stride {stride}")
axis.plot(bins, after, "o-", markersize=4, label=f"at stride {stride + step}")
axis.bar(bins, before - after, color="tab:red", label="the difference")
axis.set(xlabel="bin")
axis.legend(fontsize="small")
plt.show()

assert 0 < np.count_nonzero(before - after) <= 6

# %%
# A slope with corners
# --------------------
#
# Take a signal, and call its loss the mean square of what the layer leaves of it. The plan keeps
# the output at 32 samples here, so that nothing changes but the mask. `vjp` gives the output and
# the *pullback*: from the gradient of a loss to the output it computes that to the stride.

x = np.random.default_rng(0).normal(size=size)
plan = ss.make_plan(x.shape, (2.0,))
strides = np.linspace(2.0, 4.0, 401)


def loss_and_slope(value):
    """Return the mean square of the output, and its derivative in the stride."""
    y, pullback = ss.vjp(x, np.asarray([value]), plan=plan)
    return np.mean(y**2), pullback(2 * y / y.size)[1][0]


losses, slopes = np.transpose([loss_and_slope(value) for value in strides])
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 5.5), layout="constrained", sharex=True)
above.plot(strides, losses)
above.set(ylabel="loss")
below.plot(strides, slopes, label="the gradient that the layer gives")
middles, differences = (strides[1:] + strides[:-1]) / 2, np.diff(losses) / np.diff(strides)
below.plot(
    middles, differences, ".", color="tab:orange", markersize=3, label="measured differences"
)
below.set(xlabel="stride", ylabel="its slope")
below.legend(fontsize="small")
plt.show()

# %%
# The loss is one curve without a gap. Its slope jumps wherever a bin steps onto the ramp or off
# it. Such a place is a *corner*: the slopes to its left and right differ. There the gradient is
# the one to the right, that is, towards larger strides. With ``ramp="outside"`` whole-number
# strides, where people begin, are corners wherever N/s is even.
#
# The jumps depend on single bins of one signal. That is why gradients of strides are noisy, and
# why they are averaged over many images before a stride moves far (:doc:`/docs/budget`).

away = np.abs(slopes[:-1] - slopes[1:]) < 1e-2
assert 0.5 < np.mean(away) < 1  # most places are no corners, and some are
assert np.allclose(differences[away], slopes[:-1][away], atol=1e-2)
