"""
What a learned stride looks like
================================

Two sets of signals, one smooth and one with fine detail. A layer shrinks each, and another one
enlarges it again. Both strides begin at 2. What should they become?
"""

import matplotlib.pyplot as plt
import torch

from spectral_stride.torch import DiffStride, SpectralUp

# %%
# Each signal is a sum of waves up to a highest bin, with random heights.

torch.manual_seed(0)
size = 128


def signals(highest):
    """Return 64 signals with waves up to the bin ``highest``."""
    spectrum = torch.zeros(64, size // 2 + 1, dtype=torch.complex64)
    spectrum[:, 1 : highest + 1] = torch.randn(64, highest, dtype=torch.complex64)
    x = torch.fft.irfft(spectrum, n=size)
    return x / x.std()


# %%
# The loss has two parts. One is the mean square error of what comes back. The other is a *price*
# on the share of samples that are kept, 1/s. Without a price a stride would go to 1: to keep all
# is never wrong.


def train(x, steps=250, price=0.5):
    """Return the stride of each step."""
    down, up = DiffStride((2.0,)), SpectralUp()
    optimizer = torch.optim.Adam(down.parameters(), lr=0.05)
    history = []
    for _ in range(steps):
        history.append(down.strides.item())
        error = (up(down(x), like=down) - x).square().mean()
        optimizer.zero_grad()
        (error + price / down.strides.sum()).backward()
        optimizer.step()
    return history


histories = {highest: train(signals(highest)) for highest in (8, 40)}

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for highest, history in histories.items():
    (line,) = axis.plot(history, label=f"waves up to bin {highest}")
    limit = size / (2 * highest)
    axis.axhline(
        limit, color=line.get_color(), linestyle=":", label=f"stride {limit}: cutoff {highest}"
    )
axis.set(xlabel="step", ylabel="stride")
axis.legend(fontsize="small")
plt.show()

# %%
# The smooth signals need few samples: their stride grows until the ramp reaches their highest
# wave. The others need many, and their stride falls. Each ends below the stride whose cutoff is
# the highest wave, because the ramp lies below the cutoff and weakens what it covers.
#
# This is a toy. It has one right answer, and a price that was chosen so that one sees it. In a
# network the right stride is not known, and a price has to be found by trying. A budget needs
# none (:doc:`/docs/budget`), and on images sizes picked by a simple rule do as well
# (:doc:`/README`).

smooth, detailed = histories[8][-1], histories[40][-1]
assert 5 < smooth < 8
assert 1.3 < detailed < 1.6
