"""The perceptron, in plain PyTorch: w is moved where the answer is wrong, until an epoch has no mistake."""

import torch

import dltrain

iris = dltrain.data.iris(positive="setosa", features=["sepal length", "sepal width"])
loader = dltrain.make_loader(iris.train, batch_size=1, shuffle=True, seed=0)

net = torch.nn.Linear(2, 1).requires_grad_(False)
net.weight.zero_()
net.bias.zero_()
epsilon = 1.0

mistakes = [len(iris.train)]
while mistakes[-1] > 0:
    mistakes.append(0)
    for x, label, _ in loader.epoch(len(mistakes) - 2):
        y = 2 * label - 1  # 0 and 1 become -1 and 1
        if y * net(x) <= 0:
            net.weight.add_(epsilon * y * x)
            net.bias.add_(epsilon * y)
            mistakes[-1] += 1
