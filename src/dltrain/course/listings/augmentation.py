"""A net whose digits are changed by sub-policies, in plain PyTorch: AutoAugment with five of one's own."""

import torch
from torchvision.transforms import InterpolationMode, v2

import dltrain

change = v2.AutoAugment(interpolation=InterpolationMode.BILINEAR)
change._policies = [  # an operation, its probability, its strength from 0 to 9
    (("ShearX", 0.9, 4), ("Invert", 0.2, None)),
    (("ShearY", 0.7, 6), ("Solarize", 0.4, 8)),
    (("ShearX", 0.9, 4), ("AutoContrast", 0.8, None)),
    (("Invert", 0.9, None), ("Equalize", 0.6, None)),
    (("ShearY", 0.8, 5), ("AutoContrast", 0.7, None)),
]
digits = dltrain.data.digits(val=100, test=1597)
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0, transform=change)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x.flatten(1)), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
