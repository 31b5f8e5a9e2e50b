"""A run of a network on tensors without values: what it does with the sizes behind its places.

What comes out of a place has a size that is a symbol, a new one for each axis, and what makes maps
larger returns the size that was there before the place that it undoes. PyTorch's own rules for
shapes note which symbols have to be equal, or to be a number.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._sympy.functions import Mod, PythonMod

from spectral_stride.torch.adopt.enlarging import Enlargement, Pairing
from spectral_stride.torch.adopt.places import Place, Sample, evaluating, run, switch, watched

# A number, or an expression of SymPy in the symbols behind places.
Size = Any


@dataclass(frozen=True)
class Call:
    """One call of a place: its sizes before and after on the axes that have a stride.

    Numbers, or expressions in the symbols of places before it; what must be equal is equal.
    """

    place: Place
    before: tuple[Size, ...]
    after: tuple[Size, ...]
    hints: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Joins:
    """What one run found: the calls of all places, and equations that no symbol alone solves."""

    calls: tuple[Call, ...]
    equations: tuple[Size, ...]
    pairing: Pairing


def followed(
    network: nn.Module,
    sample: Sample,
    places: Sequence[Place],
    enlargements: Sequence[Enlargement],
    modes: Iterable[bool],
) -> list[Joins]:
    """Run a copy of the network in each mode; return what was found up to the end of each.

    Networks that ask for values, or keep something by its size, do neither for an export: they run
    once more as for one.
    """
    modes = list(modes)
    try:
        return SymbolicRun(network, sample, places, enlargements).in_modes(modes)
    except Exception:
        with _as_for_an_export():
            return SymbolicRun(network, sample, places, enlargements).in_modes(modes)


def _as_for_an_export() -> AbstractContextManager[None]:
    """Let `torch.compiler.is_exporting` say so: of PyTorch's no public name does (2.13)."""
    from torch._export.utils import _compiling_state_context

    return _compiling_state_context()


class Symbols:
    """Sizes as symbols, and what of them has turned out to be equal."""

    def __init__(self) -> None:
        self._env = ShapeEnv(duck_shape=False)
        self.mode = FakeTensorMode(shape_env=self._env, allow_non_fake_inputs=True)
        self._made: dict[Any, torch.SymInt] = {}

    def of(self, key: Any, value: int) -> torch.SymInt:
        """Return the symbol of a key, which is this number on the sample."""
        if key not in self._made:
            env, source = self._env, ConstantSource(f"size{len(self._made)}")
            symbol = env.create_symbol(
                value, source, dynamic_dim=DimDynamic.DYNAMIC, constraint_dim=None
            )
            made: Any = env.create_symintnode(symbol, hint=value, source=source)
            self._made[key] = made
        return self._made[key]

    def known(self, size: Any) -> Size:
        """Return what a size is as far as is known now."""
        if not isinstance(size, torch.SymInt):
            return size
        expression = self._env.simplify(size.node.expr)
        return int(expression) if expression.is_number else expression

    def quotient(self, sizes: Sequence[Any], others: Sequence[Any]) -> Any:
        """Divide one product of sizes by another; None where factors are left below."""
        above, below = [math.prod(map(self.known, each)) for each in (sizes, others)]
        if isinstance(above, int) and isinstance(below, int):
            return above // below
        ratio = above / below
        if ratio.is_number:
            return int(ratio)
        if ratio.as_numer_denom()[1] != 1:
            return None
        value = math.prod(map(hint, sizes)) // math.prod(map(hint, others))
        return self._env.create_symintnode(ratio, hint=value)

    def equations(self) -> tuple[Size, ...]:
        """Return what has to be equal, and does not say of one symbol what it is."""
        guards = [self._env.simplify(guard.expr) for guard in self._env.guards]
        # Whether a size is even is asked by networks that then do the one thing or the other.
        return tuple(
            [
                guard
                for guard in guards
                if getattr(guard, "rel_op", "") == "==" and not guard.has(Mod, PythonMod)
            ]
        )


def hint(size: Any) -> int:
    """Return the number that a size is on the sample."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)


class AskedSizes(TorchFunctionMode):
    """Gives a map that is reshaped the sizes that were asked for.

    PyTorch gives it quotients that equal them: for 7 of 7 (n//7) samples 7 (n//7) // (n//7). Where
    a network cuts maps into windows they grow from call to call, and SymPy takes minutes.
    """

    def __init__(self, symbols: Symbols) -> None:
        super().__init__()
        self._symbols = symbols

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, which notes what has to be equal."""
        name, is_fake = (
            getattr(func, "__name__", ""),
            bool(args) and isinstance(args[0], FakeTensor),
        )
        if name in ("view", "reshape") and is_fake and len(args) > 1:
            x, first, *rest = args
            sizes = self._in_full(x, first if isinstance(first, list | tuple) else [first, *rest])
            if sizes is not None:
                return func(x, sizes).new_empty(sizes)
        return func(*args, **(kwargs or {}))

    def _in_full(self, x: torch.Tensor, asked: Sequence[Any]) -> list[Any] | None:
        """Put its size for -1; None without symbols, or for a size that stays a quotient."""
        if not any(isinstance(size, torch.SymInt) for size in x.shape):
            return None
        if not all(isinstance(size, int | torch.SymInt) for size in asked):
            return None  # a dtype
        sizes = list(asked)
        for place, size in enumerate(asked):
            if isinstance(size, int) and size == -1:
                del sizes[place]
                found = self._symbols.quotient(x.shape, sizes)
                return None if found is None else [*sizes[:place], found, *sizes[place:]]
        return sizes


class SymbolicRun:
    """A copy of a network without values, and the calls of its places and enlargements."""

    def __init__(
        self,
        network: nn.Module,
        sample: Sample,
        places: Sequence[Place],
        enlargements: Sequence[Enlargement],
    ) -> None:
        self._symbols = Symbols()
        with FakeCopyMode(self._symbols.mode):
            self._network, self._sample = copy.deepcopy((network, sample))
        modules = dict(self._network.named_modules())
        self._places = {modules[place.name]: place for place in places}
        self._enlargements = {modules[one.name]: one for one in enlargements}
        self._pairing = Pairing(self._symbols.known, hint)
        self._noted: list[tuple[Place, list[Any], list[Any]]] = []
        # How often each place was called in this mode: a call has the same symbols in every mode.
        self._turns: Counter[str] = Counter()

    def in_modes(self, modes: Sequence[bool]) -> list[Joins]:
        """Run in each mode, as `torch.nn.Module.train` takes them."""
        found = []
        with self._watching():
            for training in modes:
                switch(self._network, training)
                self._turns.clear()
                self._pairing.again()
                try:
                    run(self._network, self._sample)
                except Exception:
                    if not training:  # which may ask for values where evaluation does not
                        raise
                found.append(self._joins())
        return found

    @contextmanager
    def _watching(self) -> Iterator[None]:
        with (
            watched(list(self._places), self._shrink),
            watched(list(self._enlargements), self._enlarge),
            evaluating(self._network),
            self._symbols.mode,
            AskedSizes(self._symbols),
            enable_python_dispatcher(),
        ):
            yield

    def _shrink(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Put symbols for the sizes that a place leaves."""
        place = self._places[module]
        if not isinstance(output, torch.Tensor) or not arguments:
            return None
        shape: list[Any] = list(output.shape)
        self._turns[place.name] += 1
        axes = place.operation.axes
        for axis in axes:
            if (now := hint(shape[axis])) > 1:
                key = place.name, self._turns[place.name], axis, now
                shape[axis] = self._symbols.of(key, now)
        before, after = ([sizes[axis] for axis in axes] for sizes in (arguments[0].shape, shape))
        self._noted.append((place, before, after))
        strides = {axis: place.operation.strides[axis] for axis in axes}
        self._pairing.shrink(place.name, strides, arguments[0].shape, shape)
        return output.new_empty(shape)

    def _enlarge(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Put the sizes that were there before the place that is undone."""
        pair = self._pairing.enlarge(self._enlargements[module], arguments[0].shape, output.shape)
        if pair is None:
            return None
        shape: list[Any] = list(output.shape)
        for axis, more in zip(pair.axes, pair.more, strict=True):
            shape[axis] = self._pairing.seen_by(pair.place, axis) + more
        return output.new_empty(shape)

    def _joins(self) -> Joins:
        """Say what is known by now of all calls."""
        known = self._symbols.known
        calls = [
            Call(
                place,
                tuple(map(known, before)),
                tuple(map(known, after)),
                tuple([(hint(one), hint(other)) for one, other in zip(before, after, strict=True)]),
            )
            for place, before, after in self._noted
        ]
        return Joins(tuple(dict.fromkeys(calls)), self._symbols.equations(), self._pairing)
