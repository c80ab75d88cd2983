"""Mixture-of-experts denoiser: attention experts with different budgets, mixed per token by a router. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from attnae.papers.moe_denoiser.attention import ExpertAttention


class MoEDenoiser(nn.Module):
    """Patch transformer for image denoising with a mixture of top-k attention experts.

    Paper: Adaptive Sparse Attention MoE denoiser. 599,689 parameters with the defaults. The variants of the ablation are
    settings of this class: ``budgets=[None]`` is standard attention (285,571 parameters: a single expert needs no router
    and no merge layer), ``router=2`` sends every token to the third expert (582,787).

    Args:
        image_size: Height and width in pixels for which positions are learned; interpolated for other sizes.
        patch_size: Height and width of a patch in pixels; divides ``image_size``.
        width: Channels of a token.
        heads: Attention heads of every expert; divides ``width``.
        depth: Number of blocks.
        budgets: Number of keys each query attends to, one entry per expert; ``None`` for all keys. A budget of at least the
            number of tokens is also full attention.
        router_hidden: Hidden channels of the router.
        feedforward: Hidden channels of the feed-forward network.
        router: ``learned`` mixes the experts with probabilities predicted per token, ``uniform`` with equal weights; a
            number is the index of the expert that every token uses, while the others are idle. No effect with one expert.
        clamp: When to clamp outputs to [0, 1]: ``always`` as in the paper, or only in ``eval`` mode, which preserves the
            gradient of every pixel in training.

    Raises:
        ValueError: A setting is out of range or incompatible with another.

    Example:
        >>> net = MoEDenoiser().eval()
        >>> net(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
        >>> images, routing = net.forward_with_routing(torch.rand(1, 3, 32, 32))
        >>> [tuple(block.shape) for block in routing]  # 64 patches, 3 experts
        [(1, 64, 3), (1, 64, 3)]
    """

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 4,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        budgets: Sequence[int | None] = (32, 64, 128),
        router_hidden: int = 64,
        feedforward: int = 256,
        router: Literal["learned", "uniform"] | int = "learned",
        clamp: Literal["always", "eval"] = "always",
    ):
        super().__init__()
        if min(image_size, patch_size, width, heads, depth, router_hidden, feedforward) < 1:
            raise ValueError(
                "image_size, patch_size, width, heads, depth, router_hidden and feedforward must be positive"
            )
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not divisible by patch_size {patch_size}")
        if width % heads:
            raise ValueError(f"width {width} is not divisible by the number of heads, {heads}")
        if clamp not in ("always", "eval"):
            raise ValueError(f"clamp must be 'always' or 'eval', got {clamp!r}")
        self.patch_size, self.budgets, self.clamp = patch_size, tuple(budgets), clamp
        self.grid = image_size // patch_size
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, self.grid**2, width))
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(
            Block(width, ExpertAttention(width, heads, budgets, router_hidden, router), feedforward)
            for _ in range(depth)
        )
        self.patch_unembed = nn.ConvTranspose2d(width, 3, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Denoises images.

        Args:
            images: Noisy images (B, 3, H, W) in [0, 1]; H and W are multiples of the patch size.

        Returns:
            Images (B, 3, H, W), clamped to [0, 1] unless ``clamp="eval"`` and the module is in training mode.

        Raises:
            ValueError: The images have another shape.
        """
        return self.forward_with_routing(images)[0]

    def forward_with_routing(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Denoises images and returns the routing probabilities.

        Args:
            images: As in :meth:`forward`.

        Returns:
            The images, and the experts' probabilities (B, N, E) of each block; empty without a learned router.
        """
        patch = self.patch_size
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % patch or images.shape[3] % patch:
            raise ValueError(
                f"images must be (B, 3, H, W) with H and W multiples of {patch}, got {tuple(images.shape)}"
            )
        # A convolution with stride equal to its kernel size is a matrix product over patches, which is faster on a CPU.
        rows = images.shape[2] // patch
        patches = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)  # (B, N, 3 p q)
        tokens = F.linear(patches, self.patch_embed.weight.flatten(1), self.patch_embed.bias)  # (B, N, width)
        tokens = tokens + self.positions(rows, images.shape[3] // patch)
        routing = []
        for block in self.blocks:
            tokens, probabilities = block(tokens)
            if probabilities is not None:
                routing.append(probabilities)
        bias = self.patch_unembed.bias
        assert bias is not None
        patches = F.linear(tokens, self.patch_unembed.weight.flatten(1).T, bias.repeat_interleave(patch * patch))
        output = rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=patch, q=patch)  # (B, 3, H, W)
        if self.clamp == "always" or not self.training:
            output = output.clamp(0, 1)
        return output, routing

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings (1, rows * columns, width) of a grid of patches, interpolated from the learned grid."""
        if rows == columns == self.grid:
            return self.pos_embed
        learned = rearrange(self.pos_embed, "1 (h w) c -> 1 c h w", h=self.grid)
        return F.interpolate(learned, (rows, columns), mode="bicubic", align_corners=False).flatten(2).mT

    @classmethod
    def from_released_weights(cls, path: str | PathLike[str]) -> MoEDenoiser:
        """Loads the released model with the authors' weights, in evaluation mode.

        Args:
            path: The released file, a state dict of the default model. Loading executes no code from it.

        Raises:
            ValueError: The file is not a plain state dict, or its keys or shapes do not match the model.
        """
        try:
            released = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(f"{path} is not a plain state dict: it is damaged, or contains code or objects") from error
        if not isinstance(released, dict) or not all(isinstance(value, Tensor) for value in released.values()):
            raise ValueError(f"{path} is not a state dict: expected a mapping of names to tensors")
        net = cls()
        ours = released_names(net.state_dict())
        if missing := ours.keys() - released.keys():
            raise ValueError(f"{path} lacks {len(missing)} weights of the released model, such as {min(missing)}")
        if unknown := released.keys() - ours.keys():
            raise ValueError(f"{path} has weights unknown to the released model, such as {min(map(str, unknown))}")
        for name, value in ours.items():
            if released[name].shape != value.shape:
                raise ValueError(f"{path}: {name} must be {tuple(value.shape)}, got {tuple(released[name].shape)}")
            value.copy_(released[name])
        return net.eval()


class Block(nn.Module):
    """Pre-norm transformer block: tokens (B, N, width) -> tokens, and the routing probabilities (B, N, E) if learned."""

    def __init__(self, width: int, attn: ExpertAttention, feedforward: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), attn
        self.norm2 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Applies the block."""
        attended, probabilities = self.attn(self.norm1(tokens))
        tokens = tokens + attended
        return tokens + self.ffn(self.norm2(tokens)), probabilities


def load_balance_loss(routing: Sequence[Tensor]) -> Tensor:
    """Divergence of the experts' mean usage from uniform usage, summed over the blocks.

    Paper: load-balancing loss. Per block (1/E) sum_e u_e log(u_e / p_e), where u_e = 1/E and p_e is the mean probability
    of expert e over batch and tokens. At least 0, and 0 for uniform usage; lower is better.

    Args:
        routing: Probabilities (B, N, E) of each block, as :meth:`MoEDenoiser.forward_with_routing` returns them.

    Returns:
        Scalar; 0 without routing.
    """
    total = torch.zeros((), device=routing[0].device if routing else None)
    for probabilities in routing:
        experts = probabilities.shape[-1]
        # (E,); clamped, so that the loss of an unused expert is large instead of infinite
        use = probabilities.flatten(0, -2).mean(0).clamp_min(torch.finfo(probabilities.dtype).tiny)
        total = total - (experts * use).log().mean() / experts  # (1/E) sum_e (1/E) log(1 / (E p_e))
    return total


def released_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps our weights, or their gradients, to the names of the released model. Returns views of the same memory."""
    width = weights["pos_embed"].shape[-1]
    layers = {"query": "W_q", "key": "W_k", "value": "W_v", "out": "W_out"}
    released = {}
    for name, value in weights.items():
        path, _, kind = name.rpartition(".")
        block, _, layer = path.rpartition(".")
        if layer in layers:
            for expert, rows in enumerate(value.split(width)):
                released[f"{block}.experts.{expert}.{layers[layer]}.{kind}"] = rows
        else:
            released[name.replace(".router.", ".router.routing_net.")] = value
    return released
