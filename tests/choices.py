"""Every choice of every group as a small run: what a choice needs beside it, the user's own data among it."""

from pathlib import Path

from PIL import Image

from dltrain.config import choices

GROUPS = {
    group: names for group, names in choices.groups().items() if group not in ("experiment", "sweep")
}  # those have own tests
FROM_NETWORK = ("cifar10", "cifar100", "fashion_mnist", "kmnist")
FROM_FILES = ("mnist", "california_housing")
OF_THE_USER = {  # beside `make_files`
    "table": ["data.path=t.csv", "data.target=label"],
    "image_folder": ["data.root=pictures", "data.image_size=8"],
    "dataset": ["data.dataset._target_=rows_for_choices.Rows"],
}
ALLOW = ["rows_for_choices"]
NEEDS = {
    **{f"data={name}": needs for name, needs in OF_THE_USER.items()},
    "loss=bce": ["data=breast_cancer"],
    "loss=hinge": ["data=breast_cancer"],
    "loss=perceptron": ["data=breast_cancer", "model=perceptron"],
    "loss=huber": ["data=diabetes"],
    "loss=mae": ["data=diabetes"],
    "loss=mse": ["data=diabetes"],
    "loss=module": ["loss._target_=torch.nn.CrossEntropyLoss"],
    "model=torchvision": ["model.name=shufflenet_v2_x0_5"],
    "model=module": ["data=iris", "model._target_=torch.nn.Linear"],
    "optimizer=lbfgs": ["data.batch_size=full", "scheduler=constant"],
    "scheduler=torch": ["scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR", "+scheduler.T_max=10"],
}


def make_files(folder: Path) -> None:
    """The user's own table, pictures and Dataset."""
    rows = "".join(f"{i},{'red' if i % 3 else 'blue'},{i % 2}\n" for i in range(40))
    (folder / "t.csv").write_text("size,colour,label\n" + rows)
    for label, colour in (("cat", 40), ("dog", 200)):
        (folder / "pictures" / label).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (9, 7), (colour, i, 0)).save(folder / "pictures" / label / f"{i}.png")
    (folder / "rows_for_choices.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\nclass Rows(TensorDataset):\n"
        "    def __init__(self): super().__init__(torch.randn(40, 3), torch.arange(40) % 2)\n"
    )
