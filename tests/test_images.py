"""What the papers say of their flows on images: sizes, starts, who moves, and memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pushforward.codecs import Coarse, CodedFlow, UniformDequantization
from pushforward.models import Dequantiser, FlowPlusPlus, Glow, Jet, RealNVP, Reverse
from pushforward.networks import ConvNet, convolution
from pushforward.networks.convolution import ScaledConvolution, ZeroConvolution
from pushforward.training import Likelihood
from pushforward.transforms import (
    LU,
    ActNorm,
    Coupling,
    Matrix,
    MultiScale,
    Squeeze,
    checkerboard,
    reversible,
    rotation,
)

COLOUR = (3, 32, 32)
COUNTS = {
    "Glow": ((Glow(image=COLOUR),), 44_603_604),
    "Glow, additive, reversed": ((Glow(image=COLOUR, permutation=Reverse()),), 44_603_604 - 96_768),
    "Flow++": ((FlowPlusPlus(image=COLOUR), Dequantiser(image=COLOUR)), 31_443_440),
    "Jet, 32 couplings of 2 layers": ((Jet(image=(3, 64, 64)),), 207e6),
    "Jet, 64 couplings of 5 layers": ((Jet(image=(3, 64, 64), transforms=64, depth=5),), 1.02e9),
}
SMALL = {
    "RealNVP": RealNVP(image=(1, 8, 12), width=8, blocks=1),
    "Glow": Glow(image=(1, 8, 12), levels=2, transforms=3, width=8),
    "FlowPlusPlus": FlowPlusPlus(image=(1, 8, 12), width=8, blocks=1, components=3),
    "Jet": Jet(image=(1, 8, 12), patch=2, transforms=6, width=16, depth=1, heads=2),
}


def pixels(n: int = 64, image: tuple[int, int, int] = (1, 8, 12), levels: int = 256) -> torch.Tensor:
    return torch.randint(levels, (n, *image), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def events(n: int = 64, image: tuple[int, int, int] = (1, 8, 12)) -> torch.Tensor:
    return UniformDequantization(256).encode(pixels(n, image), torch.Generator().manual_seed(1))[0]


def stirred(flow, std: float = 0.1):
    """Random weights everywhere, added to those of the start."""
    for parameter in flow.parameters():
        parameter.data += std * torch.randn_like(parameter)
    return flow


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_published(name):
    configurations, published = COUNTS[name]
    with torch.device("meta"):
        modules = [configuration.build() for configuration in configurations]
    found = sum(p.numel() for module in modules for p in module.parameters())
    assert found == published if isinstance(published, int) else math.isclose(found, published, rel_tol=2e-3)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", SMALL)
def test_every_flow_of_images_measures_scores_and_samples(name, classes):
    torch.manual_seed(0)
    model = type(SMALL[name])(**{**vars(SMALL[name]), "classes": classes})
    flow, x = model.build(), events()
    labels = torch.arange(len(x)) % 3 if classes else None
    flow.initialize(x, labels)
    stirred(flow, 0.02)
    check = flow.check(x, labels)
    assert check.finite == 1
    assert check.round_trip < 1 / 512  # half a bin
    assert check.log_det_error < 1e-2
    drawn = flow.sample(() if classes else 2, torch.tensor([0, 1]) if classes else None)
    assert drawn.shape == (2, 1, 8, 12)
    if classes:
        assert not torch.equal(flow.log_prob(x, 0), flow.log_prob(x, 1))


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (Glow(image=(1, 28, 28), levels=3), "halves height and width 3 times"),
        (RealNVP(image=(1, 9, 8)), "Crop or pad"),
        (FlowPlusPlus(image=(1, 8, 6)), "columns are split before and after squeezing"),
        (Jet(image=(1, 28, 28), patch=4), "7 × 7"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, error):
    with pytest.raises(ValueError, match=error):
        model.build()


def test_squeezing_is_channel_major_and_the_colours_of_a_checkerboard_are_apart():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Squeeze()(image)[0][0, :, 0, 0].tolist() == [0, 1, 4, 5]
    kept, moved = checkerboard((1, 4, 4)).apart(image)
    assert kept.flatten().tolist() == [0, 2, 5, 7, 8, 10, 13, 15]
    assert torch.equal(checkerboard((1, 4, 4), swapped=True).apart(image)[0], moved)


def test_what_goes_on_to_the_next_level_of_a_real_nvp_is_the_diagonal():
    flow = RealNVP(image=(2, 4, 4), width=8, blocks=1).build()
    order = flow.transform[1].steps[0][-1]
    z = order(Squeeze()(torch.arange(32.0).reshape(1, 2, 4, 4))[0])[0]
    assert z[0, :4, 0, 0].tolist() == [0, 16, 5, 21]


@pytest.mark.parametrize("name", SMALL)
def test_couplings_leave_what_stands_still_bit_by_bit(name):
    torch.manual_seed(0)
    flow, seen = stirred(SMALL[name].build()), []
    for part in flow.modules():
        if isinstance(part, Coupling):
            part.register_forward_hook(lambda part, args, answer: seen.append((part.split, args[0], answer[0])))
    flow.encode(events(2))
    assert seen
    for split, x, z in seen:
        (kept, moved), (kept_z, moved_z) = split.apart(x), split.apart(z)
        assert torch.equal(kept, kept_z)
        assert not torch.equal(moved, moved_z)


def test_a_glow_starts_as_its_paper_says():
    torch.manual_seed(0)
    flow, x = Glow(image=(3, 8, 8), levels=2, transforms=2, width=16).build(), events(image=(3, 8, 8))
    flow.initialize(x)
    level = flow.transform[0].steps[0]
    h = level[0](x)[0]
    for part in level.parts[1:4]:
        h, log_det = part(h)
        if isinstance(part, ActNorm):
            torch.testing.assert_close(h.mean((0, 2, 3)), torch.zeros(12), atol=1e-5, rtol=0)
            torch.testing.assert_close(h.std((0, 2, 3), correction=0), torch.ones(12), atol=1e-4, rtol=0)
        elif isinstance(part, LU):
            torch.testing.assert_close(log_det, torch.zeros(64), atol=1e-4, rtol=0)
    expected = 4 * 4 * 6 * F.logsigmoid(torch.tensor(2.0))
    torch.testing.assert_close(log_det, expected.expand(64))


def test_both_forms_of_the_1x1_convolution_start_as_the_same_rotation():
    w = rotation(6, seed=3)
    torch.testing.assert_close(w @ w.T, torch.eye(6))
    x = torch.randn(2, 6, 3, 5)
    for transform in (Matrix(w), LU(6, seed=3)):
        z, log_det = transform(x)
        torch.testing.assert_close(z, F.conv2d(x, w[:, :, None, None]), atol=1e-5, rtol=1e-5)  # float32, sums of six
        torch.testing.assert_close(log_det, torch.zeros(2), atol=1e-5, rtol=0)


def test_the_class_moves_only_a_glow_s_last_level_and_z_has_views():
    torch.manual_seed(0)
    flow = stirred(Glow(image=(1, 8, 8), levels=2, transforms=1, width=8, classes=3).build())
    scales, x = flow.transform[0], events(image=(1, 8, 8))[:2]
    assert isinstance(scales, MultiScale)
    one, other = (scales.levels(flow.encode(x, label)) for label in (0, 1))
    assert [level.shape[1:] for level in one] == [(2, 4, 4), (8, 2, 2)]
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_a_convnet_sees_where_the_image_ends():
    torch.manual_seed(0)
    net = stirred(ConvNet(1, (1, 1), width=4))
    flat = net(torch.zeros(1, 1, 7, 7))[0, 0, :, :, 0]
    assert flat[3, 3] != flat[0, 3]


@pytest.mark.parametrize("products", [None, True, False], ids=["as chosen", "by products", "by convolutions"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize(("channels", "answers"), [(3, 8), (8, 3), (4, 4)])
def test_convolutions_are_those_of_an_image_with_one_more_channel_for_its_border(
    channels, answers, size, products, monkeypatch
):
    """On a CPU and on a GPU, whose way is taken here too."""
    if products is not None:
        monkeypatch.setattr(convolution, "by_products", lambda _: products)
    torch.manual_seed(0)
    for net in (ScaledConvolution(channels, answers).double(), ZeroConvolution(channels, answers).double()):
        x, border = torch.randn(2, channels, *size).double(), torch.ones(2, 1, *size).double()
        border[..., 1:-1, 1:-1] = 0
        for p in net.parameters():
            nn.init.normal_(p, std=0.3)
        weight = torch.cat([net.weight, net.border], 1)
        expected = F.conv2d(torch.cat([x, border], 1), weight, net.shift, padding=1)
        expected = expected * torch.exp(3 * net.log_scale)[:, None, None]
        torch.testing.assert_close(net(x), expected)
        least = 0.03 * expected.abs().max().item()
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net.float()(x.float()).double(), expected, atol=least, rtol=0)
        torch.testing.assert_close(net.to(torch.bfloat16)(x).double(), expected, atol=least, rtol=0)


def test_a_jet_starts_as_the_identity_and_moves_every_patch():
    flow, x = SMALL["Jet"].build(), events()
    z, log_det = flow.transform(x)
    assert torch.equal(z, flow.transform[0].arrange(x))
    assert torch.equal(log_det, torch.zeros(64))
    patterns = torch.stack([SMALL["Jet"].pattern(k) for k in range(6)])
    assert (patterns.sum((1, 2)) == 12).all()
    assert torch.equal(patterns[::2], ~patterns[1::2])


@pytest.mark.parametrize("name", SMALL)
def test_a_reversible_chain_has_the_loss_and_the_gradients_of_a_plain_one(name):
    torch.manual_seed(0)
    flow = stirred(SMALL[name].build(), 0.05).double()
    objective, data = Likelihood(flow, UniformDequantization(256)), pixels(8)
    found = []
    for transform in (flow.transform, reversible(flow.transform)):
        flow.transform = transform
        objective.zero_grad()
        loss, _ = objective(data, None, torch.Generator().manual_seed(0))
        loss.backward()
        found.append(
            (loss.detach(), {n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None})
        )
    (loss, gradients), (again, others) = found
    torch.testing.assert_close(again, loss, atol=0, rtol=1e-12)
    assert gradients.keys() == others.keys()
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(others[parameter], gradient, atol=1e-9, rtol=1e-7, msg=parameter)


def test_what_a_reversible_chain_keeps_does_not_grow_with_its_depth():
    def kept(steps: int, change) -> int:
        flow = Glow(image=(1, 8, 8), levels=2, transforms=steps, width=16).build()
        transform, sizes = change(flow.transform), {}
        weights = {p.untyped_storage().data_ptr() for p in flow.parameters()}

        def pack(tensor):
            if (storage := tensor.untyped_storage()).data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            answers = transform(events(8, (1, 8, 8)))
        assert answers[1].requires_grad
        return sum(sizes.values())

    plain, less = ([kept(steps, change) for steps in (2, 8)] for change in (lambda t: t, reversible))
    assert plain[1] > 2 * plain[0]
    assert less[1] == less[0] < plain[0] / 4


def test_coarse_images_have_fewer_levels_of_equal_width():
    codec, data = Coarse(UniformDequantization(32)), pixels()
    x, log_q = codec.encode(data)
    assert torch.equal(codec.decode(x), data // 8 * 8)
    torch.testing.assert_close(log_q, torch.full((64,), 96 * math.log(16)))
    with pytest.raises(ValueError, match="equal width"):
        Coarse(UniformDequantization(48))


def test_learned_noise_stays_in_its_bin_has_the_density_it_says_and_more_draws_bound_better():
    torch.manual_seed(0)
    codec, data = Dequantiser(image=(1, 8, 12), width=8, blocks=1, components=3).build(), pixels(200)
    codec.initialize(data)
    stirred(codec, 0.05).double()
    with torch.no_grad():
        x, log_q = codec.encode(data, torch.Generator().manual_seed(0))
        assert torch.equal(codec.decode(x), data)
        u = 128 * (x + 1) - data
        told = codec.noise.log_prob(u, codec.read(2 * (data + 0.5) / 256 - 1)) + 96 * math.log(128)
        torch.testing.assert_close(told, log_q, atol=1e-6, rtol=0)
        flow = CodedFlow(SMALL["Glow"].build().double(), codec)
        one, eight = (flow.bound(data, samples=k, generator=torch.Generator().manual_seed(1)).mean() for k in (1, 8))
    assert eight > one
