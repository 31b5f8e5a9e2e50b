"""The convolution whose stride is learned, at about the price of a strided one."""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, cast

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.layer_settings import StrideSettings
from spectral_stride.torch.layers.conv_order import PADDING_MODES, PADDINGS
from spectral_stride.torch.layers.diffstride import DiffStride


class DiffStrideConv2d(DiffStride):
    r"""Convolution with learnable strides: exactly ``DiffStride(Conv2d(x))``, in less time.

    y = A_h c A_w^T + bias with c = Conv2d(x) at stride 1: the resampling of `DiffStride`, after a
    convolution. Resampling and convolution commute, so the layer resamples first, onto k rows for
    each row of the output and k columns for each column, and mixes channels there: no sample of c
    is computed. Where resampling the input is dearer than convolving it in full, as
    with few output channels, it takes the other order; the result is the same.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or (int, int)
        Of the convolution.
    strides : float or (float, float), optional
        Initial strides, at least 1, in input samples per output sample.
    padding : int, (int, int), "same" or "valid", optional
        As of `torch.nn.Conv2d`.
    dilation, groups, bias, padding_mode : optional
        As of `torch.nn.Conv2d`.
    **options
        Of `DiffStride`: smoothness, ramp, norm, shared, trainable, lower, upper, crop, multiple_of,
        method, hard, device, dtype.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels/groups, k_h, k_w)
    bias : Parameter of shape (out_channels,), or None
    strides : Parameter of shape (2,), or (1,) if shared
        The learned strides, as of `DiffStride`.

    Raises
    ------
    ValueError, TypeError
        As `torch.nn.Conv2d` and `DiffStride`, and from the forward pass for an input that is not
        (N, C, H, W) or (C, H, W), or smaller than the kernel.

    Notes
    -----
    With ramp "inside" the output has the size of ``Conv2d(..., stride=s)``: both keep ceil(M/s) of
    the M samples of the convolution at stride 1.

    For the backward pass it keeps the resampled input, k_h k_w samples for each of the output: with
    a 3 x 3 kernel at stride 2 that is 2.25 times the input, and where channels double a fifth more
    memory in all than the two layers take; with 5 x 5 it is 6.25 times (2.8 times their memory),
    with 7 x 7 12.25 times (5.2). Where memory counts more than time, call `DiffStride` on the
    output of a `torch.nn.Conv2d`.

    `hold_sizes`, `param_groups`, compilers and export see it as a `DiffStride`.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStrideConv2d
    >>> conv = DiffStrideConv2d(3, 16, 3, strides=2.0, padding=1)
    >>> conv(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 16, 16, 16])
    >>> conv.weight.shape, conv.bias.shape, conv.strides.shape
    (torch.Size([16, 3, 3, 3]), torch.Size([16]), torch.Size([2]))
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        strides: float | Sequence[float] = 2.0,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        **options: Any,
    ) -> None:
        with checks.named(type(self).__name__):
            if "stride" in options:
                got = checks.shown(options["stride"])
                remedy = "write strides=2.0: it is what the layer learns"
                checks.refuse(TypeError, "stride", got, "strides, a number or two", remedy)
            for name in {"axes", "ndim"} & options.keys():
                self._refuse_axes(name, options[name])
            in_channels = checks.positive_integer("in_channels", in_channels)
            out_channels = checks.positive_integer("out_channels", out_channels)
            groups = checks.positive_integer("groups", groups)
            if in_channels % groups or out_channels % groups:
                allowed = f"a divisor of {in_channels} and of {out_channels} channels"
                checks.refuse(ValueError, "groups", groups, allowed, "write groups=1")
            kernel_size = checks.one_or_two("kernel_size", kernel_size, 1, 3)
            padding = checks.one_or_two("padding", padding, 0, 1, PADDINGS)
            dilation = checks.one_or_two("dilation", dilation, 1, 1)
            bias = checks.truth("bias", bias, True)
            padding_mode = cast("Any", checks.one_of("padding_mode", padding_mode, PADDING_MODES))
        super().__init__(strides, ndim=2, axes=(-2, -1), **options)
        where = {name: options[name] for name in ("device", "dtype") if name in options}
        # It starts its weights, and knows what each padding means.
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            **where,
        )
        self.weight = cast("nn.Parameter", conv.weight)
        self.bias = cast("nn.Parameter | None", conv.bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.dilation, self.groups = conv.kernel_size, conv.dilation, groups
        self.padding, self.padding_mode = conv.padding, padding_mode
        self._reversed_padding_repeated_twice = conv._reversed_padding_repeated_twice

    def _check_successor(self, settings: StrideSettings) -> None:
        """Refuse other axes than those of the kernel, too, as the constructor does."""
        if settings.axes != (-2, -1):
            self._refuse_axes("axes", settings.axes)
        super()._check_successor(settings)

    @staticmethod
    def _refuse_axes(name: str, got: Any) -> NoReturn:
        allowed = "the axes of a two-dimensional convolution, which are the last two"
        checks.refuse(TypeError, name, checks.shown(got), allowed, f"leave {name} out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # it has its own
        """Convolve and resample ``x``; its shape follows the present strides, or is held."""
        return super().forward(x, self)

    def extra_repr(self) -> str:
        """The convolution, then the layer's settings."""
        conv = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}, padding_mode={self.padding_mode!r}"
        )
        return f"{conv}, {super().extra_repr()}"
