"""What is checked: an array constructor, a forward map, and its derivatives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_stride.testing.cases import ALWAYS, METHODS, Case

Array = Any
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Implementation:
    """One implementation of the operator, as `check_implementation` is told of it.

    ``has_views`` says whether arrays may be views of memory. Where not, layouts are all the same.
    ``methods`` lacks "fft" where the library has none: then it has to be refused.
    """

    name: str
    asarray: Callable[..., Array]
    forward: Callable[..., Array]
    vjp: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    dtypes: tuple[str, ...] = ("float64", "float32")
    few_sizes: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    has_views: bool = True
    resize: Callable[..., Array] | None = None
    methods: tuple[str, ...] = METHODS

    @property
    def always(self) -> tuple[dict[str, Any], ...]:
        """What it is run on besides what is drawn."""
        return ALWAYS if self.has_views else ALWAYS[:1]

    def lacks(self, needs: tuple[str, ...]) -> str:
        """Which of the named functions there is none of, or an empty string."""
        return " and no ".join(name for name in needs if getattr(self, name) is None)


def to_numpy(array: Array) -> Values:
    """A float64 NumPy copy of an array of any library."""
    if hasattr(array, "detach"):  # PyTorch's graph, devices, and bfloat16
        array = array.detach().cpu().double()
    if type(array).__module__.startswith("cupy"):
        array = array.get()
    if type(array).__module__.startswith("array_api_strict"):  # its simulated devices
        device: Any = type(array.device)
        array = array.to_device(device("CPU_DEVICE"))
    if type(array).__module__.startswith("ndonnx"):  # NumPy would take it for one object
        array = array.unwrap_numpy()
    return np.asarray(array).astype(np.float64)


def dtype_name(array: Array) -> str:
    """The name of an array's dtype, without its library's."""
    return str(array.dtype).rpartition(".")[2]


@dataclass(frozen=True)
class Call:
    """One implementation on one case: its functions, on NumPy values and with the case's options.

    Strides always arrive as an array of the library, in the dtype of x.
    """

    implementation: Implementation
    case: Case

    def array(self, values: Any) -> Array:
        """Values as an array of the library, in the case's dtype and layout."""
        return self.implementation.asarray(self.case.laid_out(values), self.case.dtype)

    def _arguments(
        self, x: Values, strides: tuple[float, ...] | None, changes: dict[str, Any]
    ) -> tuple[Array, Array, dict[str, Any]]:
        return (
            self.array(x),
            self.array(self.case.strides if strides is None else strides),
            self.case.options | changes,
        )

    def forward(self, x: Values, strides: tuple[float, ...] | None = None, **changes: Any) -> Array:
        """The output y."""
        array, s, options = self._arguments(x, strides, changes)
        return self.implementation.forward(array, s, **options)

    def resize(self, x: Values, sizes: tuple[int, ...] | None = None, **changes: Any) -> Array:
        """The output of resizing, to the sizes of the case or to others."""
        options = {name: self.case.options[name] for name in ("axes", "norm", "method")}
        assert self.implementation.resize is not None
        wanted = self.case.out_sizes if sizes is None else sizes
        return self.implementation.resize(self.array(x), wanted, **options | changes)

    def pullback(
        self, x: Values, strides: tuple[float, ...] | None = None, **changes: Any
    ) -> Callable[[Array], tuple[Array, Array]]:
        """The map from a cotangent, an array of the library, to both gradients."""
        array, s, options = self._arguments(x, strides, changes)
        assert self.implementation.vjp is not None
        pullback: Callable[[Array], tuple[Array, Array]]
        _, pullback = self.implementation.vjp(array, s, **options)
        return pullback

    def vjp(
        self, x: Values, g: Values, strides: tuple[float, ...] | None = None, **changes: Any
    ) -> tuple[Array, Array, Array]:
        """The output, and both gradients of <g, y>: y, dx, dstrides."""
        array, s, options = self._arguments(x, strides, changes)
        assert self.implementation.vjp is not None
        y, pullback = self.implementation.vjp(array, s, **options)
        dx, dstrides = pullback(self.array(g))
        return y, dx, dstrides

    def jvp(
        self,
        x: Values,
        dx: Values,
        ds: Values,
        strides: tuple[float, ...] | None = None,
        **changes: Any,
    ) -> tuple[Array, Array]:
        """The output, and its tangent along (dx, ds)."""
        array, s, options = self._arguments(x, strides, changes)
        assert self.implementation.jvp is not None
        y, dy = self.implementation.jvp(array, s, self.array(dx), self.array(ds), **options)
        return y, dy
