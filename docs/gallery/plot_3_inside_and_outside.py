"""
"Inside" and "outside": where the ramp lies
===========================================

The *cutoff* is c = N/(2 s), for N samples and the stride s: the highest bin that N/s samples can
hold, also called their Nyquist bin. The option ``ramp`` says on which side of it the mask falls.
"""

import matplotlib.pyplot as plt
import numpy as np

import spectral_stride as ss

size, stride = 64, 2.0
cutoff = size / (2 * stride)
bins = np.arange(size // 2 + 1)

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for ramp, color in (("inside", "tab:blue"), ("outside", "tab:orange")):
    (samples,) = ss.make_plan((size,), (stride,), ramp=ramp).out_shape
    mask = ss.soft_mask(size, stride, ramp=ramp)
    axis.plot(bins, mask, "o-", color=color, markersize=4, label=f'"{ramp}": {samples} samples')
axis.axvline(cutoff, color="0.4", linestyle=":", label="the cutoff")
axis.set(xlabel="bin", ylabel="mask", title="64 samples at stride 2")
axis.legend(fontsize="small")
plt.show()

# %%
# "Inside", the default, falls below the cutoff and is at 0 one half of a bin behind it. So N/s
# samples hold all that passes, and the output has the size that a strided convolution gives. A
# few of the bins that it could hold are weakened.
#
# "Outside" is as published. It passes all bins up to the cutoff in full and falls behind it, so
# that the output needs more samples. How many more depends on the size:

sizes = np.arange(4, 65)
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for ramp, color in (("inside", "tab:blue"), ("outside", "tab:orange")):
    samples = [ss.make_plan((int(n),), (stride,), ramp=ramp).out_shape[0] for n in sizes]
    axis.plot(sizes, samples, ".-", color=color, label=f'"{ramp}"')
axis.plot(sizes, sizes, color="0.7", linestyle="--", label="nothing is left out")
axis.set(xlabel="samples before", ylabel="samples after, at stride 2")
axis.legend(fontsize="small")
plt.show()

# %%
# At stride 2 "outside" leaves nothing out of up to 19 samples, and of 21: small maps keep their
# size, and the layers behind them cost as much as before (:doc:`/docs/costs`).

assert ss.make_plan((64,), (2.0,), ramp="outside").out_shape == (40,)
kept = [n for n in range(4, 65) if ss.make_plan((n,), (2.0,), ramp="outside").out_shape == (n,)]
assert kept == [*range(4, 20), 21]
