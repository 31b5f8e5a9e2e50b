"""How the cost of a network follows from the sizes behind its layers, found by probing it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from spectral_stride.plan import LONGEST_MATMUL
from spectral_stride.torch.adopt.places import Sample
from spectral_stride.torch.budget.probe import Axis, Call, Probe, Run
from spectral_stride.torch.kernels import LARGEST_AT_ONCE, LEAST_INPUT
from spectral_stride.torch.layers.conv_order import is_faster_first, order_counts

Tensors = Sequence[torch.Tensor]

# How many times as large the size on an axis is in its two probes, the first two that fit: what
# divides it still does. And how many times as large it is to be apart from what is seen there.
_FACTORS, _APART = (2, 3, 5, 7), 5
# Samples that are left of an axis at least.
LEAST = 2
# Up to how many samples apart two real sizes are one.
_EQUAL = 1e-6
# Up to which size an axis is multiplied by a matrix, by the method of its layer.
_LONGEST = {"auto": LONGEST_MATMUL, "matmul": math.inf, "fft": 0}


class _Polynomials(NamedTuple):
    """One product for each row: f prod_a (1 + p_a u_a + q_a u_a^2), u_a = n_a / now_a - 1."""

    base: torch.Tensor
    linear: torch.Tensor
    square: torch.Tensor
    # The sum of the roots of the bases of all operations that a row stands for.
    roots: torch.Tensor

    def at(self, moves: torch.Tensor) -> torch.Tensor:
        """Evaluate every row at moves of shape (..., axes)."""
        u = moves[..., None, :]
        return self.base * (1 + u * (self.linear + u * self.square)).prod(-1)

    def merged(self) -> "_Polynomials":
        """Add up rows that depend on sizes in the same way."""
        alike = torch.stack([self.linear, self.square], 1).mul(1e6).round()
        _, group = torch.unique(alike, dim=0, return_inverse=True)
        count = int(group.max()) + 1 if len(group) else 0
        base = self.base.new_zeros(count).index_add(0, group, self.base)
        roots = self.roots.new_zeros(count).index_add(0, group, self.roots)
        first = [int((group == one).nonzero()[0]) for one in range(count)]
        return _Polynomials(base, self.linear[first], self.square[first], roots)


class NetworkCost:
    """A cost as a function of the sizes behind layers.

    cost(n) = sum_r f_r prod_a q_ra(n_a) + what the layers take themselves. Here f_r is the count of
    an operation on the sample, a runs over axes, and q_ra is a polynomial of second degree that is
    1 at the sizes that the sample had. Two probes an axis find it. That is exact for convolutions,
    linear layers and attention, whose counts are such products.

    Sizes are real numbers here, so that they have derivatives: n = N/s along an axis of N samples.
    At whole ones the cost is what is counted there.

    Parameters
    ----------
    network : Module
        A copy of it runs twice for each axis, in evaluation, and more often if need be.
    sample : Tensor, tuple or dict
        What it is called on.
    kind : {"macs", "memory"}
        Multiply-accumulates, or bytes that are kept for the backward pass.

    Attributes
    ----------
    axes : list of Axis
    calls : list of Call
    least : Tensor of shape (axes,)
        The smallest sizes: two samples, or as many as the network needs to run.
    least_cost : float
        What is counted there.
    """

    def __init__(self, network: nn.Module, sample: Sample, kind: str) -> None:
        self.kind = kind
        self.probe = probe = Probe(network, sample, kind)
        self.axes: list[Axis] = probe.axes
        self.calls: list[Call] = probe.calls
        now, others, runs = self._probed()
        self._now, sizes = real(now), real([run.sizes for run in runs])
        # What a call sees and leaves is linear in the sizes that are chosen.
        count, moved = len(self.axes), real(others).reshape(-1, 2, 1) / self._now[:, None, None] - 1
        self._seen = sizes[0]
        self._slopes = ((sizes[1::2] - sizes[0]) / (moved[:, 0] * self._now[:, None])).T
        self._sees = [0] * count
        for call in self.calls:
            for axis, place in zip(call.axes, call.sees, strict=bool(call.axes)):
                self._sees[axis] = place
        counted = real([run.counts for run in runs])
        base = counted[0]
        ratios = torch.where(base > 0, counted[1:] / base - 1, 0.0).reshape(count, 2, len(base))
        u, v = moved.unbind(1)
        first, second = (ratios / moved).unbind(1)
        square = (second - first) / (v - u)
        polynomials = base, (first - square * u).T, square.T, base.sqrt()
        own = len(base) - 2 * len(self.calls)
        self._rows = _Polynomials(*(one[:own] for one in polynomials)).merged()
        self._of_calls = _Polynomials(*(one[own:] for one in polynomials))
        self._entries = torch.tensor([axis.entry for axis in self.axes])
        self._depth = _depth(self._slopes[self._sees])
        forms: dict[tuple[int, bool], list[int]] = {}
        for number, call in enumerate(self.calls):
            forms.setdefault((len(call.sees), call.conv is None), []).append(number)
        self._alike = [_Alike(self.calls, numbers) for numbers in forms.values()]
        smallest = self._smallest()
        self.least, self.least_cost = real(smallest), self._counted(smallest)

    def _probed(self) -> tuple[list[int], list[int], list[Run]]:
        """Run at some sizes, and with two others on each axis; return both, and the runs."""
        # What goes back to a size that nothing has changed may compute nothing. Then the sizes
        # behind such layers are taken apart from those before.
        present = [axis.after for axis in self.axes]
        apart = [
            axis.after * (_APART if axis.after == axis.before > 1 else 1) for axis in self.axes
        ]
        for now in (present, apart):
            runs, others = [self.probe.again(now)], list[int]()
            for number, axis in enumerate(self.axes):
                seen = runs[0].before[number]
                for factor in [one for one in _FACTORS if now[number] * one != seen][:2]:
                    # An axis of one sample stays as it is.
                    many = now[number] * factor
                    moved = [*now[:number], many if axis.before > 1 else 1, *now[number + 1 :]]
                    runs.append(self.probe.again(moved))
                    others.append(many)
                    if len(runs[-1].counts) != len(runs[0].counts) and now is apart:
                        self.probe.refuse(moved, "it computes something else then")
            if len({len(run.counts) for run in runs}) == 1:
                break
        return now, others, runs

    def _smallest(self) -> list[int]:
        """Find the smallest sizes with which the network runs: of each axis with others as now.

        Then as many more in front of each as are needed to leave them.
        """
        smallest = [min(LEAST, axis.before) for axis in self.axes]
        if not self._runs(smallest):
            for number, axis in enumerate(self.axes):
                sizes, fails, runs = (
                    [one.after for one in self.axes],
                    smallest[number] - 1,
                    axis.after,
                )
                while runs - fails > 1:
                    # What most axes are content with comes first.
                    tried = smallest[number] if fails < smallest[number] else (fails + runs) // 2
                    sizes[number] = tried
                    fails, runs = (fails, tried) if self._runs(sizes) else (tried, runs)
                smallest[number] = runs
        in_front = self._slopes[self._sees] > 0
        while True:
            # What is seen, and what the real sizes say of it: where odd sizes are padded, they err.
            before = torch.minimum(
                real(self.probe.again(smallest).before), self.before(real(smallest))
            )
            lacking = (real(smallest) - before).ceil().clamp(min=0)
            more = (in_front * lacking[:, None]).amax(0).tolist()
            pairs = zip(self.axes, smallest, more, strict=True)
            larger = [max(size, min(size + round(one), axis.after)) for axis, size, one in pairs]
            if larger == smallest:
                return smallest
            smallest = larger

    def _runs(self, sizes: list[int]) -> bool:
        try:
            self.probe.again(sizes)
        except ValueError:
            return False
        return True

    def _counted(self, sizes: list[int]) -> float:
        """Count the cost at whole sizes in a run."""
        run, own = self.probe.again(sizes), -2 * len(self.calls)
        total = self._total(real(sum(run.counts[:own])), real(run.counts[own:]), real(run.sizes))
        return float(total)

    def _at_calls(self, sizes: torch.Tensor) -> torch.Tensor:
        """Samples in front of each call and behind it, as positions of calls name them."""
        return self._seen + (sizes - self._now) @ self._slopes.T

    def before(self, sizes: torch.Tensor) -> torch.Tensor:
        """Samples that layers see along each axis, where these sizes are left behind all."""
        return self._at_calls(sizes)[..., self._sees]

    def sizes(self, strides: torch.Tensor) -> torch.Tensor:
        """Real sizes n = N/s that strides of shape (..., entries) leave, from the least on."""
        sizes, strides = self._now.expand(*strides.shape[:-1], -1), strides[..., self._entries]
        # Each time those are right that lie behind one axis more.
        for _ in range(self._depth):
            before = self.before(sizes)
            sizes = torch.minimum(torch.maximum(before / strides, self.least), before)
        return sizes

    def __call__(self, sizes: torch.Tensor) -> torch.Tensor:
        """Cost at sizes of shape (..., axes)."""
        moves = sizes / self._now - 1
        return self._total(
            self._rows.at(moves).sum(-1), self._of_calls.at(moves), self._at_calls(sizes)
        )

    def operations(self, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum what the operations take whose cost depends on sizes; and the roots of that.

        Resampling is none of them. A convolution that a layer takes along counts where the layer
        leaves its sizes, as a strided one does.
        """
        moves, at_calls = sizes / self._now - 1, self._at_calls(sizes)
        depends = torch.stack([self._rows.linear, self._rows.square]).ne(0).any(0).any(-1)
        each, base, roots = (
            [one[depends]] for one in (self._rows.at(moves), self._rows.base, self._rows.roots)
        )
        behind, base_behind, roots_behind = (
            one.chunk(2)[1]
            for one in (self._of_calls.at(moves), self._of_calls.base, self._of_calls.roots)
        )
        for alike in self._alike:
            shares = (at_calls[alike.leaves] / at_calls[alike.sees]).prod(-1)
            convolves = base_behind[alike.numbers] > 0
            each.append((behind[alike.numbers] * shares)[convolves])
            base.append(base_behind[alike.numbers][convolves])
            roots.append(roots_behind[alike.numbers][convolves])
        # Below the sizes at which it was found a polynomial may be negative.
        costs = torch.cat(each).clamp(min=1.0)
        return costs.sum(), (torch.cat(roots) * (costs / torch.cat(base)).sqrt()).sum()

    def _total(
        self, cost: torch.Tensor, of_calls: torch.Tensor, at_calls: torch.Tensor
    ) -> torch.Tensor:
        """Add what the calls take: from signals and convolutions, and the sizes there."""
        signals, behind = of_calls.chunk(2, -1)
        for alike in self._alike:
            sees, leaves = (at_calls[..., one].unbind(-1) for one in (alike.sees, alike.leaves))
            own = behind[..., alike.numbers]
            if self.kind == "macs":
                own = own + alike.products(signals[..., alike.numbers], sees, leaves)
            if alike.conv is not None:
                own = alike.in_cheaper_order(alike.conv, sees, leaves, own, self.kind)
            cost = cost + own.sum(-1)
        return cost


class _Conv(NamedTuple):
    """What `order_counts` asks of convolutions, of several at once."""

    in_channels: torch.Tensor
    out_channels: torch.Tensor
    groups: torch.Tensor
    kernel_size: tuple[torch.Tensor, torch.Tensor]


class _Alike:
    """Calls of one form, to be computed at once: as many axes, and all with a convolution or none.

    ``numbers`` are their places in the list of calls; ``sees`` and ``leaves`` of shape (calls,
    axes) are those of what is in front of them and behind them.
    """

    def __init__(self, calls: Sequence[Call], numbers: Sequence[int]) -> None:
        chosen = [calls[number] for number in numbers]
        self.numbers = torch.tensor(numbers)
        self.sees = torch.tensor([call.sees for call in chosen])
        self.leaves = torch.tensor([call.leaves for call in chosen])
        self.longest = real([_LONGEST[call.method] for call in chosen])
        self.at_once = torch.tensor([call.at_once for call in chosen])
        self.margins = real([call.margins for call in chosen]).unbind(-1)
        self.images = real([call.images for call in chosen])
        self.item = real([call.item for call in chosen])
        convs = [call.conv for call in chosen if call.conv is not None]
        self.conv: _Conv | None = None
        if convs:
            rows = [(c.in_channels, c.out_channels, c.groups, *c.kernel_size) for c in convs]
            into, out, groups, height, width = torch.tensor(rows).unbind(-1)
            self.conv = _Conv(into, out, groups, (height, width))

    def products(self, signals: torch.Tensor, before: Tensors, after: Tensors) -> torch.Tensor:
        """Multiply-accumulates of resampling, last axis first, as the core does it.

        An axis that keeps its size takes none, and PyTorch's counter counts none for an FFT. So
        the cost leaps where an axis becomes that long.
        """
        sizes, count, every = list(before), torch.zeros(()), self.at_once
        for axis in reversed(range(len(sizes))):
            multiplies = self._multiplies(before[axis], after[axis])
            count = count + math.prod(sizes) * after[axis] * multiplies
            sizes[axis] = after[axis]
            every = every & multiplies
        return signals * self._counted_at_once(signals, before, after, every, count)

    def _multiplies(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Tell which calls take a matrix along an axis."""
        changes = (after - before).abs() > _EQUAL
        return changes & (torch.maximum(before, after) <= self.longest)

    def in_cheaper_order(
        self, conv: _Conv, before: Tensors, after: Tensors, behind: torch.Tensor, kind: str
    ) -> torch.Tensor:
        """Cost of a convolution and its layer, from that where the convolution comes first."""
        given = [one + margin for one, margin in zip(before, self.margins, strict=True)]
        first, mixing, *others = order_counts(conv, given, before, after, True)
        resamples_first = is_faster_first(conv, first, mixing, *others)
        for one in before:
            resamples_first = resamples_first & (one <= self.longest) & (one > 1)
        if kind == "memory":
            # The resampled input, with the samples of the kernel for each of the output.
            window = conv.in_channels * math.prod(conv.kernel_size)
            in_front = self.item * window * math.prod(after)
        else:
            taps = [size * kernel for size, kernel in zip(after, conv.kernel_size, strict=True)]
            lines, channels = self.images * conv.in_channels, conv.in_channels
            first = self._counted_at_once(lines, given, taps, self.at_once, first / channels)
            in_front = channels * first + mixing
        return torch.where(resamples_first, self.images * in_front, behind)

    @staticmethod
    def _counted_at_once(
        signals: torch.Tensor, before: Tensors, after: Tensors, every: torch.Tensor, by_axis: Any
    ) -> torch.Tensor:
        """Count for one signal: by one matrix for all axes, where that is the faster one."""
        samples, matrix = math.prod(before), math.prod(before) * math.prod(after)
        serves = every & (signals * samples >= LEAST_INPUT) & (matrix <= LARGEST_AT_ONCE)
        return torch.where(serves, matrix, by_axis)


def _depth(slopes: torch.Tensor) -> int:
    """How many axes lie behind one another at most."""
    depths: list[int] = []
    for row in slopes.tolist():
        depths.append(
            1 + max((depth for depth, slope in zip(depths, row, strict=False) if slope), default=0)
        )
    return max(depths, default=0)


def real(values: Any) -> torch.Tensor:
    """Make a tensor of real numbers, as all costs are computed in."""
    return torch.tensor(values, dtype=torch.float64)
