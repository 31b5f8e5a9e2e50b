"""
What plain strides add to an image
==================================

A strided convolution keeps every second sample, and leaves out the others. Waves that are too
fast for what is left come back as slow ones. That is called *aliasing*. The picture for it is a
target whose rings lie closer the further out they are.
"""

import matplotlib.pyplot as plt
import numpy as np

import spectral_stride as ss

# %%
# The rings begin slow in the middle, and near the edge they are almost as fast as samples can be.

size = 192
across = np.arange(size) - size / 2
distance = across[:, None] ** 2 + across[None, :] ** 2
x = np.cos(0.9 * np.pi * distance / size)

# %%
# Three ways to 64 x 64 samples. *Spectral pooling* is a fixed stride with a hard end: all bins
# that the output can hold pass, and nothing learns. ``diffstride`` has a ramp there, so that its
# stride can learn.

ways = {
    "every third sample": x[::3, ::3],
    "spectral pooling": ss.spectral_pool(x, (64, 64)),
    "diffstride, stride 3": ss.diffstride(x, (3.0, 3.0)),
}
assert {y.shape for y in ways.values()} == {(64, 64)}

figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout="constrained")
pictures = {"the image, 192 x 192": x} | ways
for axis, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axis.set(title=name, xticks=[], yticks=[])
plt.show()

# %%
# Where every third sample is kept, targets stand in places where the image has none. Both others
# turn to grey there, which is right: what is too fine for the output has no other mean.
#
# So the gain over plain strides comes from the spectrum, with a learned stride or without one.
# Where you know a good size, ``spectral_pool`` is enough (:doc:`/README` has the comparison).
# Learning is for where you do not.
