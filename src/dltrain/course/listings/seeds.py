"""What a seed decides: the first weights and the order of the rows, in plain PyTorch."""

import torch

import dltrain

seed = 3
digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=seed)  # the order

torch.manual_seed(seed)  # the first weights
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(2):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
