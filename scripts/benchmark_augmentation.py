"""Images per second of every augmentation on one thread: batched per sample (dltrain) against torchvision v2 image
by image. Run it with `python scripts/benchmark_augmentation.py [--size 28] [--channels 1] [--rounds 15]`.

Each round times every transform once on the same batch, so that a busy machine slows all of them alike; the table
shows the median over the rounds, after one round of warm-up.
"""

import argparse
import statistics
import time

import torch
from torchvision.transforms import v2

from dltrain.parts.augmentation import POLICIES, Augmentation, policy

BATCH = 128
_KNOBS = {
    "sub_policies": {"policies": [[["ShearX", 0.9, 4], ["Invert", 0.2]], [["ShearY", 0.7, 6], ["Solarize", 0.4, 8]]]}
}


def batched(in_shape: tuple[int, int, int]) -> dict[str, Augmentation]:
    affine = {"affine": {"degrees": 15.0, "translate": 0.1, "scale": [0.85, 1.15], "shear": 10.0}}
    elastic = {"elastic": {"alpha": 34.0, "sigma": 4.0}}
    crop_flip, erasing = {"crop_flip": {"padding": 4, "flip": True}}, {"erasing": {"p": 0.5, "area": [0.02, 0.2]}}
    choices = {
        "affine": affine,
        "elastic": elastic,
        "affine + elastic": affine | elastic,
        "crop_flip": crop_flip,
        "erasing": erasing,
        "all four": affine | elastic | crop_flip | erasing,
    }
    fill = (0.0,) * in_shape[0]
    return {name: Augmentation(0, in_shape=in_shape, fill=fill, **knobs) for name, knobs in choices.items()}


def per_image(size: int) -> dict[str, object]:
    bilinear = v2.InterpolationMode.BILINEAR
    affine = v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=10, interpolation=bilinear)
    elastic = v2.ElasticTransform(alpha=68.0, sigma=4.0)  # it displaces alpha / 2
    return {
        "v2.RandomAffine": affine,
        "v2.ElasticTransform": elastic,
        "v2.RandomAffine + v2.ElasticTransform": v2.Compose([affine, elastic]),
        "v2.RandomCrop + v2.RandomHorizontalFlip": v2.Compose(
            [v2.RandomCrop(size, padding=4), v2.RandomHorizontalFlip()]
        ),
        "v2.RandomErasing": v2.RandomErasing(p=0.5, scale=(0.02, 0.2)),
    }


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(".")[0])
    parser.add_argument("--size", type=int, default=28, help="height and width in pixels")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    shape = (args.channels, args.size, args.size)
    raw = torch.randint(256, (BATCH, *shape), dtype=torch.uint8)
    x, y, index = raw.float() / 255, torch.zeros(BATCH, dtype=torch.int64), torch.arange(BATCH)
    epochs = iter(range(1_000_000))

    work = {}
    for name, transform in batched(shape).items():
        work[name, "batched"] = lambda t=transform: t(x, y, index, next(epochs))
    for name, transform in per_image(args.size).items():
        work[name, "image by image"] = lambda t=transform: [t(image) for image in x]
    for name, transform in {name: policy(name, **_KNOBS.get(name, {})) for name in POLICIES}.items():
        work[name, "image by image"] = lambda t=transform: [t(image) for image in raw]

    times = {key: [] for key in work}
    for _ in range(args.rounds + 1):
        for key, job in work.items():
            times[key].append(seconds(job))

    print(f"Images of {args.channels}x{args.size}x{args.size}, batch {BATCH}, one thread, torch {torch.__version__}\n")
    print("| transform | how | images/s |\n| --- | --- | ---: |")
    for (name, how), values in times.items():
        print(f"| {name} | {how} | {BATCH / statistics.median(values[1:]):,.0f} |")


if __name__ == "__main__":
    main()
