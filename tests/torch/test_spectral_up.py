"""SpectralUp: back to exactly the sizes that another layer has shrunk, eagerly and compiled."""

import copy
import io
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    SpectralPool,
    SpectralUp,
    hold_sizes,
    spectral_resize,
)

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
MAKERS = {
    "DiffStride": lambda: DiffStride(2.3),
    "SpectralPool": lambda: SpectralPool(2.3),
    "DiffStrideConv2d": lambda: DiffStrideConv2d(3, 4, 3, 2.3),
}
LAYERS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
# What 2.3 brings to the same sizes, so that only what was seen can tell them apart.
SIZES = [(33, 30), (34, 31), (33, 30)]


class Net(nn.Module):
    """One layer down, and the way back up."""

    def __init__(self, down):
        super().__init__()
        self.down, self.up = down, SpectralUp()

    def forward(self, x):
        return self.up(self.down(x).relu(), like=self.down)


def image(*sizes, batch=2):
    return torch.randn(batch, 3, *sizes)


def sizes_of(net):
    return [tuple(net(image(*sizes)).shape[-2:]) for sizes in SIZES]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@LAYERS
def test_up_restores_the_sizes_that_down_saw(make):
    """In training and eval mode, held or not, and wherever the strides have moved."""
    net = Net(make())
    assert sizes_of(net) == SIZES
    if isinstance(net.down, DiffStride):
        with torch.no_grad():
            net.down.strides += torch.tensor([0.9, -0.4])
        assert sizes_of(net) == SIZES
    assert sizes_of(net.eval()) == SIZES
    hold_sizes(net.train())
    assert sizes_of(net) == SIZES


def test_the_values_are_those_of_resizing():
    x = image(33, 30)
    for norm in ("forward", "ortho", "backward"):
        down, up = DiffStride(2.3, norm=norm), SpectralUp(norm)
        y = down(x)
        assert torch.equal(up(y, like=down), spectral_resize(y, (33, 30), norm=norm))
    up.norm, up.method = "forward", "fft"
    wanted = spectral_resize(y, (33, 30), method="fft")
    assert torch.equal(up(y, like=down), wanted)
    assert repr(up) == "SpectralUp(norm='forward', axes=None, method='fft')"


def test_the_axes_are_those_of_the_layer():
    sound, up = DiffStride((3.0,)), SpectralUp()
    assert up(sound(torch.ones(2, 3, 100)), like=sound).shape == (2, 3, 100)
    last = DiffStride(3.0, axes=(1, 2))
    assert up(last(torch.ones(2, 10, 11, 3)), like=last).shape == (2, 10, 11, 3)
    assert SpectralUp(axes=(2, 1))(torch.ones(2, 4, 4, 3), like=last).shape == (2, 10, 11, 3)


@pytest.mark.parametrize("make", [DiffStride, SpectralPool])
def test_a_convolution_goes_back_to_its_input(make):
    """Also where it is the caller's, resampled first or after a hook."""
    down, up, x = make(2.0), SpectralUp(), image(33, 30)
    plain, hooked = nn.Conv2d(3, 4, 5), nn.Conv2d(3, 4, 5)
    hooked.register_forward_hook(lambda *_: None)
    for conv in (plain, hooked):
        y = down(x, conv)
        assert y.shape[-2:] == (15, 13)
        assert up(y, like=down).shape == (2, 4, 33, 30)


def test_a_tensor_stands_for_its_sizes():
    y = image(8, 9)
    assert SpectralUp()(y, like=torch.ones(1, 7, 33, 30)).shape == (2, 3, 33, 30)
    assert SpectralUp(axes=(-1,))(y, like=torch.ones(1, 7, 33, 30)).shape == (2, 3, 8, 30)


def test_a_copy_and_a_file_keep_what_was_seen():
    net = Net(DiffStride(2.3))
    net(image(33, 30))
    written = io.BytesIO()
    torch.save(net, written)
    written.seek(0)
    for other in (copy.deepcopy(net), torch.load(written, weights_only=False)):
        net(image(20, 21))
        assert other.up(image(8, 8), like=other.down).shape[-2:] == (33, 30)
    assert not any("seen" in name for name in net.state_dict())


def test_layers_in_other_threads_do_not_mind():
    """As many networks as threads: nothing is shared between layers."""
    nets, found = [Net(DiffStride(2.3)) for _ in range(2)], {}

    def run(net, size):
        found[size] = {tuple(net(image(size, size)).shape[-2:]) for _ in range(10)}

    threads = [threading.Thread(target=run, args=pair) for pair in zip(nets, (33, 34), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {33: {(33, 33)}, 34: {(34, 34)}}


@pytest.mark.parametrize(
    ("make", "prepare"),
    [
        (MAKERS["DiffStride"], hold_sizes),
        (MAKERS["SpectralPool"], nn.Module.eval),
        pytest.param(MAKERS["DiffStride"], nn.Module.eval, marks=pytest.mark.long),
        pytest.param(MAKERS["SpectralPool"], hold_sizes, marks=pytest.mark.long),
        pytest.param(MAKERS["DiffStrideConv2d"], hold_sizes, marks=pytest.mark.long),
        pytest.param(MAKERS["DiffStrideConv2d"], nn.Module.eval, marks=pytest.mark.long),
    ],
)
def test_compiled_as_one_graph(make, prepare):
    """With gradients, for sizes of images that change."""
    net = Net(make())
    prepare(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert sizes_of(compiled) == SIZES
    x = image(33, 30).requires_grad_()
    (wanted,) = torch.autograd.grad(net(x).square().sum(), x)
    (found,) = torch.autograd.grad(compiled(x).square().sum(), x)
    torch.testing.assert_close(found, wanted)


def test_compiled_where_sizes_follow_the_strides():
    """The layer runs outside of the graph, and the way back is in the next one."""
    assert sizes_of(torch.compile(Net(DiffStride(2.3)), backend="aot_eager")) == SIZES


def test_compiled_apart():
    """What the graph of the layer has seen is there for code and for other graphs behind it."""
    down, up = DiffStride(2.3).eval(), SpectralUp()
    compiled_down = torch.compile(down, backend="aot_eager")
    compiled_up = torch.compile(lambda y: up(y, like=down), backend="aot_eager")
    for back in (compiled_up, partial(up, like=down), partial(up, like=compiled_down)):
        assert sizes_of(lambda x, back=back: back(compiled_down(x))) == SIZES


@pytest.mark.long
def test_compiled_in_a_checkpoint():
    """With the way back inside, and behind it in one graph; behind that graph it is refused."""
    net = Net(DiffStride(2.3)).eval()
    down, up = net.down, net.up
    checked = partial(checkpoint, use_reentrant=False)
    for function in (lambda x: checked(net, x), lambda x: up(checked(down, x), like=down)):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        assert sizes_of(compiled) == SIZES
        compiled(image(33, 30).requires_grad_()).sum().backward()
    with pytest.raises(ValueError, match="no forward pass is known here"):
        up(image(8, 8), like=down)
    assert sizes_of(lambda x: checked(net, x)) == SIZES


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.long)])
def test_exported_with_a_free_batch(strict):
    net = Net(DiffStride(2.3)).eval()
    free = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        program = torch.export.export(net, (image(33, 30),), dynamic_shapes=free, strict=strict)
    x = image(33, 30, batch=5)
    torch.testing.assert_close(program.module()(x), net(x))


def test_under_vmap():
    net = Net(DiffStride(2.3))
    hold_sizes(net)
    assert torch.func.vmap(net)(torch.ones(4, 2, 3, 20, 21)).shape == (4, 2, 3, 20, 21)


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda y: SpectralUp()(y, like=DiffStride(2.0)), "like: got a DiffStride of"),
        (TypeError, lambda y: SpectralUp()(y, like=(8, 8)), "like: got tuple; .*like=down"),
        (
            TypeError,
            lambda y: SpectralUp()(y, like=nn.Identity()),
            "like: got Identity; allowed: a DiffStride, DiffStrideConv2d or SpectralPool, or a "
            r"tensor; instead: write up\(y, like=down\)$",
        ),
        (TypeError, lambda y: SpectralUp()(y.long(), like=y), "x: got dtype"),
        (ValueError, lambda y: SpectralUp()(y, like=y[0]), "like: got an array with 3 dim"),
        (ValueError, lambda y: SpectralUp()(y[0, 0], like=y[0, 0]), "y: got an array with 2"),
        (ValueError, lambda y: SpectralUp("l2"), "norm: got 'l2'"),
        (TypeError, lambda y: SpectralUp(strides=2), "strides: got 2"),
    ],
)
def test_what_is_refused(kind, call, message):
    with pytest.raises(kind, match=f"^SpectralUp: {message}"):
        call(image(8, 8))
