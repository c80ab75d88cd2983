"""Train the MoE denoiser in a loop of plain PyTorch, without Lightning, and look at its router."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from common import arguments, images, save, write

from attnae.papers.moe_denoiser import MoEDenoiser, load_balance_loss

options = arguments(__doc__)
torch.manual_seed(1)
train, test = images(options.data_root, "train", 32), images(options.data_root, "test", 32)[:4]
network = MoEDenoiser(clamp="eval")
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
losses = []
for _ in range(400):
    clean = train[torch.randint(len(train), (16,))]
    noisy = (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1)
    output, routing = network.forward_with_routing(noisy)
    loss = F.mse_loss(output, clean)
    (loss + 0.01 * load_balance_loss(routing)).backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())

network.eval()
noisy = (test + 0.2 * torch.randn_like(test)).clamp(0, 1)
with torch.no_grad():
    denoised, routing = network.forward_with_routing(noisy)
numbers = [
    f"MSE of the noisy images {F.mse_loss(noisy, test):.4f}, of the denoised ones {F.mse_loss(denoised, test):.4f}",
    f"Lightning imported: {'lightning' in sys.modules}",
]
write(options.out / "plain_pytorch.txt", numbers)

figure = plt.figure(figsize=(9, 4.4))
left, right = figure.subfigures(1, 2, width_ratios=(4, 5))
plot = left.subplots()
plot.semilogy(losses, lw=0.8)
plot.set(xlabel="step", ylabel="training MSE")
left.subplots_adjust(left=0.19, right=0.97, bottom=0.13, top=0.96)
share = routing[0][..., 0].reshape(len(test), 8, 8)  # probability of the expert with 32 keys at each of 8x8 patches
lines = {"noisy": noisy, "denoised": denoised, "clean": test, "32 keys": share}
for axes, (title, pictures) in zip(right.subplots(len(lines), len(test)), lines.items(), strict=True):
    for axis, picture in zip(axes, pictures, strict=True):
        if picture.ndim == 2:
            axis.imshow(picture.numpy(), cmap="viridis")
        else:
            axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(title, fontsize=10)
right.subplots_adjust(left=0.08, right=0.99, bottom=0.02, top=0.98, wspace=0.05, hspace=0.05)
save(figure, options.out / "plain_pytorch.png")
