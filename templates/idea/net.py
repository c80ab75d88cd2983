"""The network, in plain PyTorch: it knows nothing of data, losses or Lightning."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Scales every channel by a weight that depends on the means of all channels (squeeze and excitation).

    Args:
        width: Number of channels.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 4, 1),
            nn.ReLU(),
            nn.Conv2d(width // 4, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scales features (B, width, H, W)."""
        output: Tensor = features * self.weights(features)
        return output


class Net(nn.Module):
    """A residual convolutional denoiser, with or without channel attention after every hidden layer.

    Args:
        attention: Whether to use channel attention. Without it, the network is the control.
        width: Number of hidden channels.
        depth: Number of hidden layers.
    """

    def __init__(self, attention: bool = True, width: int = 32, depth: int = 4):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
            if attention:
                layers.append(ChannelAttention(width))
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Denoises images (B, 3, H, W): subtracts the predicted noise."""
        output: Tensor = images - self.layers(images)
        return output
