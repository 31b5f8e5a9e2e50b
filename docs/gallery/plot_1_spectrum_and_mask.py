"""
A signal, its spectrum and the mask
===================================

A row of numbers can be written as a sum of waves. Its *spectrum* says how much of each wave there
is. The wave of *bin* k makes k full periods along the row. Slow waves are the coarse shape, fast
waves the fine detail. A *stride* s is the number of input samples per output sample: the fewer
samples are left, the fewer waves they can hold.
"""

import matplotlib.pyplot as plt
import numpy as np

import spectral_stride as ss

# %%
# A row of 64 samples: two slow waves, and a fast one at bin 22.

size, stride = 64, 2.5
place = np.arange(size) / size
x = np.sin(2 * np.pi * 2 * place) + 0.6 * np.cos(2 * np.pi * 5 * place)
x += 0.4 * np.cos(2 * np.pi * 22 * place)

# %%
# At stride 2.5 there are 26 samples left. They hold the waves of the bins 0 to 13 and no others.
# The *mask* says for each bin how much of it passes. Up to some bin all passes. Then the mask
# falls in a straight line, the *ramp*, and behind it nothing passes. Where the ramp lies follows
# from the stride.

spectrum = np.abs(np.fft.rfft(x)) / size
mask = ss.soft_mask(size, stride)
y = ss.diffstride(x, [stride])

figure, (above, below) = plt.subplots(2, 1, figsize=(7, 6), layout="constrained")
bins = np.arange(size // 2 + 1)
above.bar(bins, spectrum / spectrum.max(), color="0.75", label="the spectrum of the signal")
above.bar(bins, mask * spectrum / spectrum.max(), color="tab:blue", label="what passes the mask")
above.plot(bins, mask, "o-", color="tab:orange", markersize=3, label="the mask")
above.axvline(len(y) / 2, color="0.4", linestyle=":", label="the highest bin of 26 samples")
above.set(xlabel="bin", title="In waves")
above.legend(loc="upper right", fontsize="small")

below.plot(place, x, color="0.6", label="64 samples")
below.plot(np.arange(len(y)) / len(y), y, "o-", color="tab:blue", markersize=4, label="26 samples")
below.set(xlabel="place along the row", title="In samples")
below.legend(loc="upper right", fontsize="small")
plt.show()

# %%
# The fast wave is gone, and the slow ones are whole. Between the samples of the output lies the
# same smooth curve. Nothing else has been added, and that is the point: a row that keeps each
# third sample, as a strided convolution does, turns fast waves into slow ones that were never
# there (:doc:`plot_2_aliasing`).

assert y.shape == (26,)
