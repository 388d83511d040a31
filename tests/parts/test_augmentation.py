"""Per-sample augmentation: randomness that depends on (seed, epoch, sample) alone, and geometry against torchvision."""

import gzip
import pickle
from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.data.sources.sklearn_sets import digits
from dltrain.errors import ConfigError, DataError
from dltrain.parts.augmentation import (
    POLICIES,
    Affine,
    Augmentation,
    CropFlip,
    Elastic,
    Erasing,
    OnPixels,
    inverse_affine,
    policy,
    resample,
    uniform,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "regularisation"
KINDS = {
    "affine": {"affine": {"degrees": 15.0, "translate": 0.1, "scale": [0.85, 1.15], "shear": 10.0}},
    "elastic": {"elastic": {"alpha": 34.0, "sigma": 4.0}},
    "crop_flip": {"crop_flip": {"padding": 4, "flip": True}},
    "erasing": {"erasing": {"p": 1.0, "area": [0.05, 0.3]}},
}
ALL = {name: knobs[name] for name, knobs in KINDS.items()}
OFF = {
    "affine": {"affine": {}},
    "elastic": {"elastic": {"alpha": 0.0, "sigma": 4.0}},
    "crop_flip": {"crop_flip": {"padding": 0, "flip": False}},
    "erasing": {"erasing": {"p": 0.0, "area": [0.05, 0.3]}},
}
some_kind = pytest.mark.parametrize("kind", KINDS)


def augment(x, index, epoch=0, *, seed=0, fill=(0.0,), **knobs):
    change = Augmentation(seed, in_shape=x.shape[1:], fill=fill, device=x.device, **knobs)
    return change(x, torch.zeros(len(x)), index, epoch)[0]


def rows(*numbers):
    return torch.tensor(numbers)


# -- random numbers ------------------------------------------------------------------------------------------------


def test_uniform_is_uniform_in_every_bit():
    u = uniform(0, 0, torch.arange(4096), (64,), 0)
    assert u.dtype == torch.float32
    assert 0 <= float(u.min()) < 1e-4
    assert 1 - 1e-4 < float(u.max()) < 1
    for bits in (u, u * 2**8 % 1, u * 2**16 % 1):  # upper, middle and lower eight
        counts = torch.histc(bits, 256, 0, 1)
        expected = u.numel() / 256
        chi_square = float(((counts - expected) ** 2 / expected).sum())  # 255 degrees of freedom, sd 22.6
        assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


def test_uniform_is_independent_between_samples_elements_epochs_streams_and_seeds():
    index = torch.arange(4096)
    u = uniform(5, 3, index, (64,), 1)
    pairs = {
        "samples": (u[1:], u[:-1]),
        "elements": (u[:, 1:], u[:, :-1]),
        "epochs": (u, uniform(5, 4, index, (64,), 1)),
        "streams": (u, uniform(5, 3, index, (64,), 2)),
        "seeds": (u, uniform(6, 3, index, (64,), 1)),
        "seed and epoch exchanged": (u, uniform(3, 5, index, (64,), 1)),
    }
    for name, (a, b) in pairs.items():
        cells = (a.flatten() * 16).long() * 16 + (b.flatten() * 16).long()
        expected = cells.numel() / 256
        counts = torch.bincount(cells, minlength=256)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert abs(chi_square - 255) < 5 * 22.6, name


def test_uniform_is_the_same_whatever_the_batch_and_the_shape_beyond():
    index = torch.randperm(60_000)[:50]
    whole = uniform(7, 2, index, (3, 5), 1)
    assert whole.shape == (50, 3, 5)
    for size in (1, 3, 7, 50):
        parts = [uniform(7, 2, part, (3, 5), 1) for part in index.split(size)]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(uniform(7, 2, index.flip(0), (15,), 1).flip(0).view_as(whole), whole)
    assert torch.equal(uniform(7, 2, index, (40,), 1)[:, :15].view_as(whole), whole)


def test_uniform_has_not_changed():
    # A run that is resumed with a newer version must go on as it began.
    bits = (uniform(1, 2, rows(0, 59_999), (2,), 3) * 2**24).long()
    assert bits.tolist() == [[8261089, 7286094], [920829, 10751656]]


def test_uniform_takes_any_seed():
    for seed in (0, -1, 2**63 - 1, 2**70):
        assert uniform(seed, 0, rows(0), (4,), 0).unique().numel() == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_uniform_has_the_same_bits_on_cuda():
    index = torch.randperm(60_000)[:333]
    assert torch.equal(uniform(7, 2, index.cuda(), (2, 13), 1).cpu(), uniform(7, 2, index, (2, 13), 1))
    x = torch.rand(333, 1, 28, 28)
    torch.testing.assert_close(augment(x.cuda(), index, **ALL).cpu(), augment(x, index, **ALL), rtol=0, atol=2e-2)


# -- what all have in common ---------------------------------------------------------------------------------------


@some_kind
def test_each_sample_is_changed_in_its_own_way(kind):
    image = torch.rand(1, 3, 20, 16)
    out = augment(image.expand(64, -1, -1, -1), torch.arange(64), fill=(0.5, 0.1, 0.0), **KINDS[kind])
    assert out.shape == (64, 3, 20, 16)
    different = out.flatten(1).unique(dim=0)
    assert len(different) > 40  # crop_flip has only 9 * 9 * 2 outcomes; a v2 transform on a batch gives 1


@some_kind
def test_a_change_depends_on_seed_epoch_and_sample_alone(kind):
    x, index = torch.rand(40, 1, 28, 28), torch.randperm(60_000)[:40]
    whole = augment(x, index, 3, **KINDS[kind])
    torch.manual_seed(99)
    for size in (1, 7, 32):
        parts = zip(x.split(size), index.split(size), strict=True)
        pieces = torch.cat([augment(part, rows_, 3, **KINDS[kind]) for part, rows_ in parts])
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)
    assert torch.equal(augment(x, index, 3, **KINDS[kind]), whole)
    for other in (augment(x, index, 4, **KINDS[kind]), augment(x, index, 3, seed=1, **KINDS[kind])):
        assert (other != whole).flatten(1).any(1).sum() > 30


@some_kind
def test_zero_strength_changes_nothing(kind):
    x, fill = torch.randn(16, 3, 28, 20, dtype=torch.float64), (0.5, -0.1, 0.0)
    out = augment(x, torch.arange(16), fill=fill, **OFF[kind])
    torch.testing.assert_close(out, x, rtol=0, atol=1e-12)
    single = augment(x.float(), torch.arange(16), fill=fill, **OFF[kind])
    torch.testing.assert_close(single, x.float(), rtol=0, atol=2e-5)


@some_kind
def test_inputs_and_targets_are_left_as_they_were(kind):
    x, y = torch.rand(8, 1, 12, 12), torch.arange(8)
    before = x.clone()
    _, targets = Augmentation(0, in_shape=(1, 12, 12), fill=(0.0,), **KINDS[kind])(x, y, torch.arange(8), 0)
    assert targets is y
    assert torch.equal(x, before)


@some_kind
def test_an_empty_image_stays_empty(kind):
    fill = (0.5, -0.424, 2.0)
    x = torch.tensor(fill).view(1, 3, 1, 1).expand(8, 3, 14, 10)
    out = augment(x, torch.arange(8), fill=fill, **KINDS[kind])
    torch.testing.assert_close(out, x, rtol=0, atol=1e-6)


def test_all_together_and_a_batch_larger_than_a_chunk():
    x, index = torch.rand(2500, 1, 8, 8), torch.arange(2500)
    whole = augment(x, index, **ALL)
    assert whole.shape == x.shape
    torch.testing.assert_close(whole[1800:1900], augment(x[1800:1900], index[1800:1900], **ALL), rtol=0, atol=1e-6)


def test_affine_and_elastic_are_one_resampling_of_their_sum():
    x, index = torch.rand(6, 1, 28, 28, dtype=torch.float64), torch.arange(6)
    affine, elastic = Affine(**ALL["affine"]), Elastic(**ALL["elastic"])
    smooth = elastic.smoothing(28)
    field = elastic.displacement(uniform(0, 0, index, (2, smooth.shape[1], smooth.shape[1]), 1), smooth, smooth)
    where = where_from(affine.inverse(uniform(0, 0, index, (5,), 0), 28, 28), 28, 28) + field
    out = augment(x, index, affine=ALL["affine"], elastic=ALL["elastic"])
    torch.testing.assert_close(out, resample(x, where, torch.zeros(1, 1, 1)), rtol=0, atol=1e-4)


def test_gradients_do_not_flow_through_augmentation():
    x = torch.rand(4, 1, 8, 8, requires_grad=True)
    assert not augment(x, torch.arange(4), **ALL).requires_grad


# -- geometry ------------------------------------------------------------------------------------------------------


def where_from(matrix, height, width):
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return torch.einsum("bij,jhw->bihw", matrix, torch.stack([x, y, torch.ones_like(x)]))


@pytest.mark.parametrize(
    ("angle", "translate", "scale", "shear"),
    [
        (30.0, (0, 0), 1.0, 0.0),
        (-75.0, (0, 0), 1.0, 0.0),
        (0.0, (3, -2), 1.0, 0.0),
        (0.0, (0, 0), 1.3, 0.0),
        (0.0, (0, 0), 1.0, 20.0),
        (25.0, (-4, 1), 0.8, -15.0),
    ],
)
def test_affine_agrees_with_torchvision_image_by_image(angle, translate, scale, shear):
    x = torch.rand(2, 3, 28, 22, dtype=torch.float64)
    numbers = {"angle": angle, "translate": translate, "scale": scale, "shear": shear}
    matrix = inverse_affine(**{k: torch.tensor([v, v], dtype=torch.float64) for k, v in numbers.items()})
    ours = resample(x, where_from(matrix.float(), 28, 22), torch.zeros(3, 1, 1))
    for image, out in zip(x, ours, strict=True):
        theirs = tv.affine(image, angle, list(translate), scale, [shear, 0.0], interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(out, theirs, rtol=0, atol=1e-4)


def test_affine_draws_fill_their_ranges_evenly():
    affine = Affine(degrees=20.0, translate=0.1, scale=[0.8, 1.2], shear=0.0)
    u = uniform(0, 0, torch.arange(20_000), (5,), 0)
    matrix = affine.inverse(u, 30, 40)
    scale = 1 / torch.linalg.det(matrix[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(matrix[:, 0, 1], matrix[:, 0, 0]))
    shift = torch.linalg.solve(matrix[:, :, :2], -matrix[:, :, 2])
    for values, low, high in (
        (scale, 0.8, 1.2),
        (angle, -20, 20),
        (shift[:, 0], -4, 4),  # of 40 pixels across
        (shift[:, 1], -3, 3),  # of 30 pixels down
    ):
        assert low - 1e-4 <= float(values.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(values.max()) <= high + 1e-4
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_moving_by_whole_pixels_is_exact():
    x = torch.rand(1, 1, 16, 16)
    matrix = torch.tensor([[[1.0, 0, -3], [0, 1, 2]]])  # read 3 to the left and 2 below: the image goes right and up
    moved = resample(x, where_from(matrix, 16, 16), torch.full((1, 1, 1), -1.0))
    expected = torch.full_like(x, -1.0)
    expected[..., :14, 3:] = x[..., 2:, :13]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


def test_crop_flip_is_a_padded_crop_bit_for_bit():
    x, fill = torch.randn(600, 2, 9, 7), (-0.42, 0.3)
    out = augment(x, torch.arange(600), fill=fill, crop_flip={"padding": 2, "flip": True})
    outcomes = set()
    background = torch.tensor(fill).view(2, 1, 1)
    for image, got in zip(x, out, strict=True):
        found = []
        for flip in (False, True):
            padded = background.repeat(1, 13, 11)
            padded[:, 2:11, 2:9] = image
            for top in range(5):
                for left in range(5):
                    crop = padded[:, top : top + 9, left : left + 7]
                    if torch.equal(crop.flip(2) if flip else crop, got):
                        found.append((flip, top, left))
        assert len(found) == 1
        outcomes.add(found[0])
    assert len(outcomes) == 50  # both sides, all 25 positions


def test_crop_without_flip_never_mirrors():
    ramp = torch.arange(8.0).expand(200, 1, 8, 8)
    out = augment(ramp, torch.arange(200), fill=(-1.0,), crop_flip={"padding": 2, "flip": False})
    rightwards = out[:, :, 2:6, 2:6].diff(dim=-1)  # the part that is never empty
    assert torch.equal(rightwards, torch.ones_like(rightwards))


def test_erasing_empties_one_rectangle_of_the_asked_area():
    x = torch.ones(2000, 2, 28, 28)
    out = augment(x, torch.arange(2000), fill=(0.0, -3.0), erasing={"p": 0.5, "area": [0.05, 0.2]})
    gone = out[:, 0] == 0
    assert torch.equal(gone, out[:, 1] == -3)
    hit = gone.flatten(1).any(1)
    assert 0.45 < float(hit.float().mean()) < 0.55
    tall, wide = gone[hit].any(2).sum(1), gone[hit].any(1).sum(1)
    area = gone[hit].flatten(1).sum(1)
    assert torch.equal(area, tall * wide)
    share, ratio = area / 784, tall / wide
    assert 0.04 < float(share.min()) < 0.06
    assert 0.19 < float(share.max()) < 0.215
    assert float(share.mean()) == pytest.approx(0.125, abs=0.005)
    assert 0.2 < float(ratio.min()) < 0.4
    assert 2.8 < float(ratio.max()) < 4.5
    assert float(gone.any(0).float().mean()) > 0.99  # every place can be hit


# -- elastic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "sigma", "size"), [(34.0, 4.0, 28), (36.0, 5.5, 29), (8.0, 1.0, 12), (60.0, 7.0, 28)]
)
def test_elastic_displacements_have_the_documented_size_and_smoothness(alpha, sigma, size):
    elastic = Elastic(alpha=alpha, sigma=sigma)
    smooth = elastic.smoothing(size)
    u = uniform(0, 0, torch.arange(3000), (2, smooth.shape[1], smooth.shape[1]), 1)
    field = elastic.displacement(u, smooth, smooth)
    rms = alpha / (sigma * (12 * pi) ** 0.5)
    assert field.shape == (3000, 2, size, size)
    assert float(field.mean()) == pytest.approx(0, abs=0.02 * rms)
    assert float(field.std()) == pytest.approx(rms, rel=0.02)
    everywhere = field.square().mean((0, 1)).sqrt()  # as strong at the border as in the middle
    torch.testing.assert_close(everywhere, torch.full_like(everywhere, rms), rtol=0.08, atol=0)
    for distance in (1, 3, 6):  # two Gaussians of width sigma convolved: covariance exp(-d^2 / 4 sigma^2)
        products = field[..., distance:] * field[..., :-distance]
        expected = float(np.exp(-(distance**2) / (4 * sigma**2)))
        assert float(products.mean()) / rms**2 == pytest.approx(expected, abs=0.04)
    across, down = field[:, 0], field[:, 1]
    assert float((across * down).mean()) == pytest.approx(0, abs=0.02 * rms**2)


def test_elastic_field_is_simards_noise_per_pixel_in_its_statistics():
    # The definition: uniform noise for each pixel, smoothed by a Gaussian of unit sum, times alpha.
    sigma, alpha, size = 2.0, 10.0, 9
    taps = torch.exp(-0.5 * (torch.arange(-12, 13) / sigma).square()).double()
    taps /= taps.sum()
    band = torch.stack([torch.nn.functional.pad(taps, (i, size - 1 - i)) for i in range(size)])
    exact = alpha**2 / 3 * torch.kron(band @ band.T, band @ band.T)
    smooth = Elastic(alpha=alpha, sigma=sigma).smoothing(size).double()
    ours = alpha**2 / 3 * torch.kron(smooth @ smooth.T, smooth @ smooth.T)
    torch.testing.assert_close(ours, exact, rtol=0, atol=2e-3 * float(exact[0, 0]))


def test_elastic_bends_digits_and_keeps_their_ink(shared_data):
    raw = gzip.decompress((shared_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    x = torch.from_numpy(np.frombuffer(raw, np.uint8, 512 * 784, offset=16).copy()).view(-1, 1, 28, 28).float() / 255
    out = augment(x, torch.arange(len(x)), elastic=ALL["elastic"])
    assert float((out - x).abs().mean()) > 0.02
    assert float(out.mean() / x.mean()) == pytest.approx(1, abs=0.03)
    assert float(out.min()) > -1e-5
    assert float(out.max()) < 1 + 1e-5


# -- policies ------------------------------------------------------------------------------------------------------


def made(name):
    """A policy with the knobs of its YAML file."""
    knobs = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["augmentation"]["policy"]
    return policy(**knobs)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", POLICIES)
def test_policies_change_gray_and_colour_images_by_torchs_generator(name, shape):
    change, image = made(name), torch.randint(256, shape, dtype=torch.uint8)
    out = []
    for seed in range(60):
        torch.manual_seed(seed)
        out.append(change(image))
        assert out[-1].shape == shape
        assert out[-1].dtype == torch.uint8
    torch.manual_seed(7)
    assert torch.equal(change(image), out[7])
    assert len({o.numpy().tobytes() for o in out}) > (10 if name == "sub_policies" else 20)  # it has five


@pytest.mark.parametrize("name", ["rand_augment", "trivial_augment"])
def test_geometric_policies_invent_no_ink_and_travel_to_workers(name):
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[:, 8:20, 12:16] = 200
    change = pickle.loads(pickle.dumps(policy(name, operations="geometric", interpolation="nearest")))
    for _ in range(100):
        assert set(change(image).unique().tolist()) <= {0, 200}


def test_a_policy_in_the_loader_depends_on_seed_epoch_and_sample_alone():
    split = Tensors(
        x=torch.randint(256, (12, 1, 28, 28), dtype=torch.uint8),
        y=torch.arange(12),
        mean=torch.tensor([0.0]),
        std=torch.tensor([1.0]),
    )

    def epoch(number, size):
        loader = make_loader(split, batch_size=size, transform=policy("rand_augment"), seed=4)
        return torch.cat([x for x, *_ in loader.epoch(number)])

    assert torch.equal(epoch(1, 12), epoch(1, 5))
    assert not torch.equal(epoch(1, 12), epoch(2, 12))


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("scaling", ["unit", "standard", "none"])
def test_policies_see_digits_from_0_to_1_whatever_their_scale(name, scaling):
    data, unit = digits(scaling=scaling), digits()
    mean, std = (data.preprocessing[key] for key in ("mean", "std"))
    change = OnPixels(made(name), mean=mean, std=std)
    for i in range(20):
        torch.manual_seed(i)
        wanted = made(name)(unit.train.x[i])
        torch.manual_seed(i)
        found = change(data.train.x[i])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found * std[0] + mean[0], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", POLICIES)
def test_policies_see_bytes_where_floats_hold_bytes_and_refuse_other_ranges(name):
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    torch.manual_seed(0)
    wanted = made(name)(image)
    torch.manual_seed(0)
    assert torch.equal(OnPixels(made(name), as_bytes=True)(image.float()), wanted.float())
    torch.manual_seed(0)
    assert torch.equal(OnPixels(made(name))(image), wanted)
    for other in (image.float(), image.float() / 127.5 - 1, image.float() / 100):
        with pytest.raises(DataError, match=r"policy: .* from 0 to 1"):
            OnPixels(made(name))(other)


def test_own_sub_policies_are_drawn_as_often_as_each_other_and_done_in_order():
    dark = torch.full((1, 2, 2), 10, dtype=torch.uint8)
    invert, solarize = ["Invert", 1], ["Solarize", 1, 5]  # what is brighter than 255 * 4/9 is inverted
    change = policy("sub_policies", policies=[[invert, solarize], [solarize, invert], [["Invert", 0.0, None]]])
    torch.manual_seed(0)
    found = [change(dark).unique().tolist() for _ in range(300)]
    assert found.count([245]) == pytest.approx(100, abs=30)
    assert found.count([10]) == 300 - found.count([245])


def test_sub_policies_of_autoaugment_do_what_autoaugment_does():
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    published = policy("auto_augment", learned_on="svhn").transform._policies
    own = policy("sub_policies", policies=[[[*each] for each in pair] for pair in published])
    for seed in range(30):
        torch.manual_seed(seed)
        wanted = policy("auto_augment", learned_on="svhn")(image)
        torch.manual_seed(seed)
        assert torch.equal(pickle.loads(pickle.dumps(own))(image), wanted)


# -- errors and YAML -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"affine": {"degrees": -5}}, r"affine.degrees=-5: write an angle from 0 to 180"),
        ({"affine": {"degrees": float("nan")}}, "affine.degrees=nan"),
        ({"affine": {"scale": [1.2, 0.8]}}, r"affine.scale=\[1.2, 0.8\]: write \[low, high\] with 0 < low <= high"),
        ({"affine": {"degree": 5}}, r"affine=\{'degree': 5\}: it takes degrees \(float\), translate \(float\)"),
        ({"affine": {"degrees": "much"}}, "it takes degrees"),
        ({"elastic": {"alpha": 34.0}}, r"it takes alpha \(float\), sigma \(float\)"),
        ({"elastic": {"alpha": 34.0, "sigma": 0.0}}, "elastic.sigma=0.0: write a width > 0 in pixels"),
        ({"crop_flip": {"padding": -1, "flip": True}}, "crop_flip.padding=-1: write a number of pixels >= 0"),
        ({"crop_flip": {"padding": 1.5, "flip": True}}, "crop_flip.padding=1.5"),
        ({"crop_flip": {"padding": 2, "flip": "no"}}, "crop_flip.flip=no: write true or false"),
        ({"erasing": {"p": 1.5, "area": [0.1, 0.2]}}, "erasing.p=1.5: write a probability from 0 to 1"),
        ({"erasing": {"p": 0.5, "area": [0.1, 2]}}, r"erasing.area=\[0.1, 2\]: write \[low, high\] within 0 and 1"),
    ],
)
def test_bad_knobs_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(0, in_shape=(1, 28, 28), fill=(0.0,), **knobs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"name": "fast_augment"},
            "policy.name=fast_augment: write one of auto_augment, sub_policies, rand_augment, trivial_augment",
        ),
        ({"name": "trivial_augment", "num_ops": 2}, "it takes num_magnitude_bins"),
        ({"name": "rand_augment", "magnitude": 31}, "policy.magnitude=31: write a step from 0 to 30"),
        ({"name": "rand_augment", "num_ops": 0}, "policy.num_ops=0"),
        ({"name": "rand_augment", "operations": "some"}, "policy.operations=some: write all or geometric"),
        ({"name": "auto_augment", "learned_on": "mnist"}, "write one of imagenet, cifar10, svhn"),
        ({"name": "auto_augment", "interpolation": "cubic"}, "write nearest or bilinear"),
        ({"name": "sub_policies", "policies": []}, "write one sub-policy or more"),
        ({"name": "sub_policies", "policies": [[]]}, "write one sub-policy or more"),
        ({"name": "sub_policies", "policies": [[["Invertt", 1]]]}, "no operation `Invertt`; did you mean `Invert`"),
        ({"name": "sub_policies", "policies": [[["Invert", 2]]]}, "a probability from 0 to 1"),
        ({"name": "sub_policies", "policies": [[["Invert", "x", 2]]]}, "a probability from 0 to 1"),
        ({"name": "sub_policies", "policies": [[["ShearX", 0.5]]]}, "a strength from 0 to 9"),
        ({"name": "sub_policies", "policies": [[["ShearX", 0.5, 10]]]}, "a strength from 0 to 9"),
        ({"name": "sub_policies", "policies": [[["ShearX"]]]}, r"write \[operation, probability, strength\]"),
    ],
)
def test_bad_policies_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        policy(**knobs)


def test_what_is_not_an_image_is_refused():
    with pytest.raises(ConfigError, match=r"needs images \[C, H, W\] .* got samples of shape \[64\] and 1 values"):
        Augmentation(0, in_shape=(64,), fill=(0.0,), **KINDS["affine"])
    with pytest.raises(ConfigError, match=r"got samples of shape \[1, 8, 8\] and 3 values"):
        Augmentation(0, in_shape=(1, 8, 8), fill=(0.0, 0.0, 0.0), **KINDS["affine"])


def test_objects_and_their_knobs_are_the_same():
    x, index = torch.rand(4, 1, 9, 9), torch.arange(4)
    built = {"affine": Affine(**ALL["affine"]), "elastic": Elastic(**ALL["elastic"])}
    built |= {"crop_flip": CropFlip(**ALL["crop_flip"]), "erasing": Erasing(**ALL["erasing"])}
    assert torch.equal(augment(x, index, **built), augment(x, index, **ALL))


@pytest.mark.parametrize("name", [*KINDS, *POLICIES])
def test_each_yaml_works_as_it_stands(name):
    knobs = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["augmentation"]
    if name in POLICIES:
        assert policy(**knobs["policy"])(torch.zeros(1, 8, 8, dtype=torch.uint8)).shape == (1, 8, 8)
    else:
        augment(torch.rand(4, 1, 28, 28), torch.arange(4), **knobs)
