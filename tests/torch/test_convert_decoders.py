"""Networks with a way back up: what enlarges returns the sizes that were there before."""

import copy
import io
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from spectral_stride.torch import (
    DiffStride,
    conversion,
    convert,
    hold_sizes,
    release_sizes,
    spectral_resize,
)

EXACT = {"kernel_size": 2, "stride": 2}


def image(high=32, wide=None):
    shape = 2, 3, high, wide or high
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def layers(net):
    return [layer for layer in net.modules() if isinstance(layer, DiffStride)]


def move(net, seed, most=3.0):
    """Set every stride to one drawn at random; every third time some are 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers(net):
            drawn = torch.rand(layer.strides.shape, generator=generator)
            layer.strides.copy_(1 + (most - 1) * (drawn - (seed % 3 == 0) * 0.4).clamp(min=0))


class UNet(nn.Module):
    """An encoder and a decoder of two steps, whose maps are concatenated."""

    def __init__(self, ups, downs=None, sized=False):
        super().__init__()
        self.into, self.sized = nn.Conv2d(3, 4, 3, 1, 1), sized
        self.downs = nn.ModuleList(downs or [nn.MaxPool2d(2), nn.MaxPool2d(2)])
        self.wide = nn.ModuleList([nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1)])
        self.ups = nn.ModuleList(ups)
        self.join = nn.ModuleList([nn.Conv2d(16, 8, 1), nn.Conv2d(12, 2, 1)])

    def forward(self, x):
        skips = [x := self.into(x)]
        for down, wide in zip(self.downs, self.wide, strict=True):
            skips.append(x := wide(down(x)))
        skips.pop()
        for up, join in zip(self.ups, self.join, strict=True):
            skip = skips.pop()
            x = up(x, output_size=skip.shape[-2:]) if self.sized else up(x)
            high, wide = [n - m for n, m in zip(skip.shape[-2:], x.shape[-2:], strict=True)]
            # As many do, for odd sizes.
            x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
            x = join(torch.cat([x, skip], 1))
        return x


def transposed(count=2, **options):
    return [nn.ConvTranspose2d(8, 8, **(options or EXACT)) for _ in range(count)]


def shuffled():
    return [nn.Sequential(nn.Conv2d(8, 32, 1), nn.PixelShuffle(2)) for _ in range(2)]


def convolved():
    return [nn.Conv2d(channels, channels, 3, 2, 1) for channels in (4, 8)]


class Cropping(nn.Module):
    """The first U-Net: no padding, and skips that are cropped to what they are joined with."""

    def __init__(self):
        super().__init__()
        self.encode = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)])
        self.down = nn.ModuleList([nn.MaxPool2d(2), nn.MaxPool2d(2)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(4, 4, 2, 2), nn.ConvTranspose2d(4, 4, 2, 2)])
        self.decode = nn.ModuleList([nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)])

    def forward(self, x):
        first = self.encode[0](x)
        second = self.encode[1](self.down[0](first))
        x = self.encode[2](self.down[1](second))
        for up, decode, skip in zip(self.up, self.decode, (second, first), strict=True):
            x = up(x)
            high, wide = [(n - m) // 2 for n, m in zip(skip.shape[2:], x.shape[2:], strict=True)]
            skip = skip[..., high : high + x.shape[2], wide : wide + x.shape[3]]
            x = decode(torch.cat([x, skip], 1))
        return x


class Pyramid(nn.Module):
    """Maps of three sizes, the smaller ones added to the larger; one with a factor of 4."""

    def __init__(self, ups):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 3, 3, 2, 1), *[nn.AvgPool2d(2) for _ in range(2)]])
        self.up, self.last = nn.ModuleList(ups), nn.Upsample(scale_factor=4, mode="bilinear")

    def forward(self, x):
        first = self.down[0](x)
        second = self.down[1](first)
        third = self.down[2](second)
        second = second + self.up[0](third)
        return self.up[1](second) + first + self.last(third)


class Crossing(nn.Module):
    """Two steps down, added to two steps elsewhere: between them nothing meets."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, 2, 1))
        self.other = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1))
        self.up = nn.Upsample(scale_factor=4)

    def forward(self, x):
        return x + self.up(self.one(x) + self.other(x))


def autoencoder(*ups):
    down = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)
    return nn.Sequential(*down, *ups, nn.Conv2d(8, 3, 1))


def waves():
    down = nn.Conv1d(1, 4, 8, 4, 2), nn.ReLU(), nn.Conv1d(4, 4, 4, 2, 1)
    return nn.Sequential(
        *down, nn.ConvTranspose1d(4, 4, 4, 2, 1), nn.ConvTranspose1d(4, 1, 8, 4, 2)
    )


def one_upsampling():
    return itertools.repeat(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), 2)


LONG = pytest.mark.long
K4 = {"kernel_size": 4, "stride": 2, "padding": 1}
K3 = {"kernel_size": 3, "stride": 2, "padding": 1}
# The network, its sample, and the places that what enlarges goes back behind.
BOTH = [("downs.1",), ("downs.0",)]
NETWORKS = [
    pytest.param(lambda: UNet(transposed()), image(), BOTH, id="kernel 2"),
    pytest.param(
        lambda: UNet(transposed(**K4), convolved()), image(32, 48), BOTH,
        id="kernel 4", marks=LONG,
    ),
    pytest.param(lambda: UNet(transposed(**K3, output_padding=1)), image(), BOTH, id="kernel 3"),
    pytest.param(
        lambda: UNet(transposed()), image(37, 30), BOTH, id="padded where odd", marks=LONG
    ),
    pytest.param(
        lambda: UNet(transposed(**K3), convolved(), sized=True), image(37, 34), BOTH,
        id="told its size", marks=LONG,
    ),
    pytest.param(
        lambda: UNet([nn.Upsample(scale_factor=2), nn.UpsamplingBilinear2d(scale_factor=2)]),
        image(), BOTH, id="upsampling",
    ),
    pytest.param(
        lambda: UNet(shuffled(), convolved()), image(), [("downs.1",), ("downs.0",)],
        id="pixel shuffles",
    ),
    pytest.param(
        lambda: UNet([nn.Upsample(size=(16, 16)), nn.Upsample(size=(32, 32))]), image(),
        [("downs.1",)], id="upsampling to sizes",
    ),
    pytest.param(
        lambda: UNet(one_upsampling()), image(), [("downs.1", "downs.0")],
        id="one upsampling for both", marks=LONG,
    ),
    pytest.param(Cropping, image(44), [("down.1",), ("down.0",)], id="cropped"),
    pytest.param(
        lambda: autoencoder(*transposed(**K3, output_padding=1)), image(), [("2",), ("0",)],
        id="autoencoder",
    ),
    pytest.param(
        lambda: autoencoder(*transposed(**K3)), image(33), [("2",), ("0",)], id="odd autoencoder"
    ),
    pytest.param(
        lambda: autoencoder(nn.ConvTranspose2d(8, 8, 8, 4, 2)), image(), [("0",)], id="two at once"
    ),
    pytest.param(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.AvgPool2d(2), nn.Upsample(scale_factor=2), *transposed()
        ),
        image(), [("1",), ("0",)], id="two for one",
    ),
    pytest.param(waves, torch.randn(2, 1, 256), [("2",), ("0",)], id="sounds"),
    pytest.param(
        lambda: Pyramid([nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2)]), image(64),
        [("down.2",), ("down.1",), ("down.1",)], id="pyramid",
    ),
    pytest.param(Crossing, image(), [("other.0",)], id="two steps in two branches"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "sample", "undone"), NETWORKS)
@pytest.mark.filterwarnings("error:convert left")
def test_the_way_back_restores_what_was_there(make, sample, undone):
    """Wherever strides are, the output has the size that it has without any stride."""
    net = make()
    found = conversion(net, sample)
    assert list(found.undone.values()) == undone
    learned = convert(net, sample).eval()
    with torch.no_grad():
        shape = net.eval()(sample).shape
        assert learned(sample).shape == shape
        for seed in range(9):
            move(learned, seed, 2.0)
            found = learned(sample).shape
            # Nothing undoes the pyramid's first place.
            assert found == shape or isinstance(net, Pyramid)


def test_strides_learn_through_the_way_back():
    for make in (lambda: UNet(transposed()), Crossing):
        learned = convert(make(), image())
        move(learned, 1)
        learned(image()).square().sum().backward()
        assert all(layer.strides.grad.abs().min() > 0 for layer in layers(learned))


def test_other_sizes_than_the_samples():
    learned = convert(UNet(transposed()), image()).eval()
    for size in (20, 31, 33, 50):
        assert learned(image(size)).shape == (2, 2, size, size)


def test_copies_and_checkpoints_have_their_own_way_back():
    net = UNet(transposed())
    learned = convert(net, image()).eval()
    missing, unexpected = learned.load_state_dict(net.state_dict(), strict=False)
    assert (missing, unexpected) == (
        ["downs.0.resampling.strides", "downs.1.resampling.strides"], []
    )  # fmt: skip
    stored = io.BytesIO()
    torch.save(learned, stored)
    stored.seek(0)
    for other in (copy.deepcopy(learned), torch.load(stored, weights_only=False)):
        torch.testing.assert_close(other(image()), learned(image()))
        learned(image(40))  # sizes that the others do not see
        move(other, 0)
        assert other(image()).shape == (2, 2, 32, 32)
    assert "back behind downs.1" in repr(learned.ups[0])


def test_a_decoder_that_runs_alone_says_what_it_needs():
    learned = convert(autoencoder(*transposed()), image())
    fresh = copy.deepcopy(learned)
    with torch.no_grad():
        assert fresh(image())[0].shape == (3, 32, 32)
    bare = convert(autoencoder(*transposed()), image())
    with pytest.raises(ValueError, match="RestoredConvTranspose2d: like: got a Resampled"):
        bare[3](torch.ones(2, 8, 8, 8))


ONE_ENTRY = {"kernel_size": 3, "stride": (2,), "padding": (1,), "output_padding": (1,)}


@pytest.mark.parametrize("options", [EXACT, K4, {**K3, "output_padding": 1}, ONE_ENTRY], ids=str)
def test_a_transposed_convolution_keeps_what_a_spectrum_can(options):
    """Of a smooth map: its values lie where they lay, apart from phases that it makes differ."""
    up = nn.ConvTranspose2d(1, 1, **options, bias=False)
    nn.init.constant_(up.weight, 1.0)
    net = nn.Sequential(nn.AvgPool2d(2), up)
    wave = torch.cos(torch.arange(64) * 2 * torch.pi / 32).expand(1, 1, 64, 64)
    learned = convert(net, wave)
    both = net(wave), learned(wave)
    inner = [functional.avg_pool2d(y, 2, 1)[..., 4:-4, 4:-4] for y in both]  # over the phases
    assert (inner[0] - inner[1]).abs().max() < 0.15 * inner[0].abs().max()


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_upsampling_puts_values_where_they_were(mode):
    wave = torch.cos(torch.arange(64) * 2 * torch.pi / 16).expand(1, 1, 64, 64)
    learned = convert(nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode=mode)), wave)
    small = learned[0](wave)
    inner = slice(4, -4)
    smooth = functional.interpolate(small, scale_factor=2, mode="bicubic")[..., inner, inner]
    error = (learned[1](small)[..., inner, inner] - smooth).abs().max()
    bare = (spectral_resize(small, (64, 64))[..., inner, inner] - smooth).abs().max()
    assert error < bare / 2


def test_a_pixel_shuffle_is_what_it_was_at_the_old_strides():
    learned = convert(nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.PixelShuffle(2)), image())
    expected = functional.pixel_shuffle(learned[0](image()), 2)
    torch.testing.assert_close(learned(image()), expected)


@pytest.mark.long
def test_compiled_exported_and_held():
    learned = convert(UNet(one_upsampling()), image())
    with torch.no_grad():
        for layer in layers(learned):
            layer.strides.fill_(1.6)
    hold_sizes(learned)
    expected = learned(image())
    compiled = torch.compile(learned, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(image()), expected)
    compiled(image()).square().sum().backward()
    assert all(layer.strides.grad.abs().min() > 0 for layer in layers(learned))
    release_sizes(learned)
    learned.eval()
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(learned, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(image()), expected)
        program = torch.export.export(learned, (image(),)).module()
        torch.testing.assert_close(program(image()), expected)


def test_the_table_says_what_goes_back():
    rows = str(conversion(UNet(transposed()), image())).splitlines()
    assert rows[3].split()[:7] == ["ups.0", "ConvTranspose2d", "back", "8x8", "->", "16x16", "2"]


def test_what_undoes_nothing_is_left():
    """Generators of larger maps: the size of what moves is enlarged by a fixed factor."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2), nn.ConvTranspose2d(8, 3, 3, 3))
    found = conversion(net, image())
    assert found.left == {"2": "no place that moves shrinks by what it enlarges by"}
    assert [group.names for group in found.groups] == [("0",), ("1",)]
    assert conversion(Crossing(), image(), exclude="up").groups == ()


class Called(nn.Module):
    """Shrinks and enlarges by calls that are no modules."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = functional.max_pool2d(self.down(x), 2)
        x = functional.avg_pool2d(functional.conv2d(x, self.up.weight, stride=2), 2)
        x = functional.interpolate(functional.interpolate(x, scale_factor=2.0), size=(16, 16))
        return functional.avg_pool2d(x, x.shape[-2:])  # to one sample: no stride


def test_calls_that_are_no_modules_are_said():
    found = conversion(nn.Sequential(nn.Sequential(Called()), nn.ReLU()), image(64))
    names = {"max_pool2d", "conv2d", "avg_pool2d", "interpolate"}
    assert found.left.keys() == {f"0.0.{name}()" for name in names}
    assert "no module" in found.left["0.0.conv2d()"]
    assert [group.names for group in found.groups] == [("0.0.down",)]


class Auxiliary(nn.Module):
    """A second head that runs in training alone, and needs one size."""

    def __init__(self):
        super().__init__()
        self.down, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)
        self.head, self.second = nn.Conv2d(4, 2, 1), nn.Linear(4 * 16 * 16, 2)

    def forward(self, x):
        x = self.down(x)
        heads = [self.head(self.pool(x)).mean((2, 3))]
        return [*heads, self.second(x.flatten(1))] if self.training else heads


def test_what_only_training_needs_is_left():
    found = conversion(Auxiliary(), image())
    assert found.left.keys() == {"down"}
    assert found.left["down"].startswith(
        "in training: with another stride the network fails: a linear layer or a reshape takes "
        "1024 features"
    )


class DeeplySupervised(nn.Module):
    """In training two more branches, one of them added to what is there in evaluation too."""

    def __init__(self):
        super().__init__()
        self.main, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)
        self.side, self.more = nn.Conv2d(3, 4, 1, 2), nn.AvgPool2d(2)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.main(x)
        outputs = [self.pool(y).mean((2, 3))]
        if self.training:
            outputs.append(self.norm((y + self.side(x)).mean((2, 3))))
            outputs.append(self.more(y).mean((2, 3)))
        return outputs


def test_what_meets_in_training_alone_shares_a_stride():
    """Of a batch of one too, whose statistics batch norms do not have."""
    found = conversion(DeeplySupervised(), image()[:1])
    assert {group.names for group in found.groups} == {("main", "side"), ("pool",), ("more",)}
    assert found.left == {}


def test_an_axis_that_is_needed_as_it_is_leaves_the_other():
    """A head along one axis: the other one is free."""

    class Bands(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList([nn.Conv2d(1, 4, 3, 2, 1), nn.MaxPool2d(2)])
            self.head = nn.Linear(4 * 8, 5)

        def forward(self, x):
            for down in self.down:
                x = down(x)
            return self.head(x.flatten(1, 2).transpose(1, 2))

    spectrum = image(32, 48)[:, :1]
    found = conversion(Bands(), spectrum)
    assert {group.names: group.axes for group in found.groups} == {
        ("down.0",): (-1,),
        ("down.1",): (-1,),
    }
    assert found.left["down.1"].startswith("along axis -2: what follows needs its size")
    with pytest.warns(UserWarning, match="along axis -2"):
        learned = convert(Bands(), spectrum)
    for seed in range(5):
        move(learned, seed, 2.0)
        assert learned(spectrum).shape[2] == 5
        assert learned.down[0](spectrum).shape[2] == 16


def test_one_upsampling_finds_its_turn_again_after_a_pass_that_was_cut_off():
    learned = convert(UNet(one_upsampling()), image()).eval()
    expected = learned(image())
    learned.ups[0](torch.ones(1, 8, 8, 8))
    torch.testing.assert_close(learned(image()), expected)


def test_one_upsampling_that_undoes_a_place_once_is_left():
    up = nn.Upsample(scale_factor=2)
    found = conversion(
        nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(2), up, up, up), image()
    )
    assert found.left == {"2": "some of its calls undo no place that moves"}
    assert len(found.groups) == 2
