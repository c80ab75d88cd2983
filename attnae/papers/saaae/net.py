"""VAE and SAAAE (self-attention anchored VAE). Pure torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from attnae.papers.saaae.folded import folded_importance

SMALLEST_GATE = 1e-6
"""Lower bound on the gate in a gated KL divergence, which limits the noise term of a latent to 13.8 nats."""


class Gate(NamedTuple):
    """How much of the posterior's noise reaches the decoder.

    Attributes:
        scale: Factor on the noise of each latent, broadcastable to (B, latent_dim), in [0, 1].
        importance: Importance by attention before normalization (B, latent_dim); ``None`` without attention.
    """

    scale: Tensor
    importance: Tensor | None = None


class Posterior(NamedTuple):
    """Posterior over the latents of each image, and the gate on its noise.

    Attributes:
        mean: (B, latent_dim).
        log_variance: Log of the variance (B, latent_dim).
        gate: See :class:`Gate`.
        prior_variance: Variance of each latent's prior N(0, v), (1, latent_dim); ``None`` for 1.
    """

    mean: Tensor
    log_variance: Tensor
    gate: Gate
    prior_variance: Tensor | None = None

    def kl_per_latent(self) -> Tensor:
        """KL divergence from the prior in nats, (B, latent_dim), each at least 0."""
        return self._kl(self.log_variance)

    def kl_gated_per_latent(self) -> Tensor:
        """KL divergence of the gated posterior N(mean, (gate * std)^2) from the prior in nats, (B, latent_dim).

        A gate of 0 would make it infinite, so gates are clamped to at least :data:`SMALLEST_GATE`. Equal to
        :meth:`kl_per_latent` where the gate is 1.
        """
        return self._kl(self.log_variance + 2 * self.gate.scale.clamp_min(SMALLEST_GATE).log())

    def _kl(self, log_variance: Tensor) -> Tensor:
        if self.prior_variance is None:
            return -0.5 * (1 + log_variance - self.mean.square() - log_variance.exp())
        moment = (self.mean.square() + log_variance.exp()) / self.prior_variance
        return -0.5 * (1 + log_variance - self.prior_variance.log() - moment)

    def latents(self, noise: Tensor) -> Tensor:
        """Samples latents (B, latent_dim) from standard normal noise of the same shape. Zeros give the mean."""
        return self.mean + (0.5 * self.log_variance).exp() * noise * self.gate.scale


def _half_precision(device: str) -> torch.dtype | None:
    """Precision of autocast; ``None`` if it is off."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


class VAE(nn.Module):
    """Convolutional variational autoencoder of 64x64 images.

    Paper: VAE vs SAAAE, baseline. 8,666,755 parameters.

    Args:
        image_size: Height and width in pixels, a multiple of 16.
        latent_dim: Latents per image.
        channels: Channels after each stride-2 convolution of the encoder; reversed in the decoder.
        width: Factor on all ``channels``, rounded; 1 as in the paper. 1.337 at 32x32 and 3.473 at 64x64 match the parameter
            count of :class:`SAAAE` within 0.2%.
        hidden_dim: Width of an additional fully connected layer on each side of the latents; 0 for none, as in the paper.
        noise: ``fresh`` draws new reparameterization noise in every step. ``frozen`` uses the same tensor in every step, so
            the noise depends only on an image's position in the batch.
        prior: ``normal`` is N(0, 1), as in the paper. ``relevance`` is N(0, v) with a variance per latent estimated during
            training, so that uninformative latents have no KL cost, see :meth:`learn_prior`.

    Raises:
        ValueError: ``image_size`` is not a positive multiple of 16, or a width is not positive.

    Example:
        >>> net = VAE(image_size=32)
        >>> images, posterior = net(torch.rand(2, 3, 32, 32) * 2 - 1)
        >>> images.shape, posterior.mean.shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2, 128]))
    """

    prior_variance: Tensor | None

    def __init__(
        self,
        image_size: int = 64,
        latent_dim: int = 128,
        channels: tuple[int, int, int, int] = (64, 128, 256, 512),
        hidden_dim: int = 0,
        noise: Literal["fresh", "frozen"] = "fresh",
        prior: Literal["normal", "relevance"] = "normal",
        width: float = 1.0,
    ):
        super().__init__()
        if image_size < 16 or image_size % 16:
            raise ValueError(
                f"image_size must be a positive multiple of 16 (four stride-2 convolutions), got {image_size}"
            )
        if noise not in ("fresh", "frozen"):
            raise ValueError(f"noise must be 'fresh' or 'frozen', got {noise!r}")
        if prior not in ("normal", "relevance"):
            raise ValueError(f"prior must be 'normal' or 'relevance', got {prior!r}")
        channels = tuple(round(width * count) for count in channels)  # type: ignore[assignment]
        if min(latent_dim, *channels) < 1 or hidden_dim < 0:
            raise ValueError(f"latent_dim and width * channels must be positive, got {latent_dim} and {channels}")
        self.image_size, self.latent_dim, self.noise = image_size, latent_dim, noise
        side, widths = image_size // 16, (3, *channels)
        flat = channels[-1] * side * side  # 512 * 4 * 4 = 8192

        encoder: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            encoder += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        encoder.append(nn.Flatten())
        decoder: list[nn.Module] = [nn.Unflatten(1, (channels[-1], side, side))]
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True):
            decoder += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        decoder[-1] = nn.Tanh()
        if hidden_dim:
            encoder += [nn.Linear(flat, hidden_dim), nn.ReLU(inplace=True)]
            decoder = [nn.Linear(latent_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, flat), *decoder]
        else:
            decoder = [nn.Linear(latent_dim, flat), *decoder]
        self.encoder = nn.Sequential(*encoder)
        self.mean = nn.Linear(hidden_dim or flat, latent_dim)
        self.log_variance = nn.Linear(hidden_dim or flat, latent_dim)
        self.decoder = nn.Sequential(*decoder)
        self.register_buffer("prior_variance", torch.ones(1, latent_dim) if prior == "relevance" else None)

    def encode(self, images: Tensor) -> Posterior:
        """Posterior of masked images (B, 3, S, S) in [-1, 1].

        Raises:
            ValueError: The image size differs from ``image_size``.
        """
        if images.shape[1:] != (3, self.image_size, self.image_size):
            size = "x".join(map(str, images.shape[1:]))
            raise ValueError(
                f"images are {size}, the network expects 3x{self.image_size}x{self.image_size} (image_size)"
            )
        features = self.encoder(images)  # (B, 3, S, S) -> (B, 8192)
        # Under autocast the layers' outputs have half precision, which is too coarse for an exponential.
        mean, log_variance = (_at_least_float32(layer(features)) for layer in (self.mean, self.log_variance))
        posterior = Posterior(mean, log_variance, self.gate(images))
        if self.prior_variance is not None and self.training:
            self.learn_prior(posterior)
        return posterior._replace(prior_variance=self.prior_variance)

    @torch.no_grad()
    def learn_prior(self, posterior: Posterior) -> None:
        """Updates the prior variances by a moving average (weight 0.1) of the estimate from a training batch.

        Paper: ARD-VAE (arXiv 2501.10901): each latent's precision has a Gamma prior, and its posterior given encoded images
        has a closed form, re-estimated periodically on a subset of the training images. We: a moving average over batches,
        with Gamma(1, 1), which is equivalent to two images whose latents are N(0, 1).
        """
        assert self.prior_variance is not None
        moments = posterior.mean.square() + posterior.log_variance.exp()  # E z^2 of each image and latent
        estimate = (2 + moments.sum(0, keepdim=True)) / (2 + len(moments))
        self.prior_variance.lerp_(estimate.to(self.prior_variance), 0.1)

    def prior_scale(self) -> Tensor:
        """Standard deviation of each latent's prior, (1, latent_dim)."""
        if self.prior_variance is None:
            return self.mean.weight.new_ones(1, self.latent_dim)
        return self.prior_variance.sqrt()

    def gate(self, images: Tensor) -> Gate:
        """Gate for masked images (B, 3, S, S) in [-1, 1]: always 1 in a plain VAE."""
        return Gate(images.new_ones(1, 1))

    def sample_noise(self, mean: Tensor) -> Tensor:
        """Standard normal noise of the shape of ``mean``."""
        if self.noise == "frozen":
            # Released code: the mask function calls torch.manual_seed(42) before every forward pass, so each step draws
            # the same tensor. We: a separate generator, which does not affect the global one.
            return torch.randn(mean.shape, generator=torch.Generator().manual_seed(42)).to(mean)
        return torch.randn_like(mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes latents (B, latent_dim) to images (B, 3, S, S) in [-1, 1]."""
        images: Tensor = self.decoder(latents)
        return images

    def forward(self, images: Tensor) -> tuple[Tensor, Posterior]:
        """Reconstructs masked images (B, 3, S, S) in [-1, 1] from a sample of the posterior.

        Returns:
            Reconstructions (B, 3, S, S) in [-1, 1] and the posterior.
        """
        posterior = self.encode(images)
        return self.decode(posterior.latents(self.sample_noise(posterior.mean))), posterior


class SelfAttentionGate(nn.Module):
    """Importance of each latent from self-attention between an image's color planes.

    Paper: VAE vs SAAAE, "anchoring". Each color plane is one token with S * S features. Single-head attention, flatten,
    linear layer to the latents, SiLU, min-max normalization. The noise is multiplied by 1 - importance.

    Args:
        image_size: Height and width in pixels.
        latent_dim: Latents per image.
        normalize: Range of the min-max normalization: ``batch`` as in the paper, where an image's gate depends on the other
            images of the batch; or ``image``, over each image's latents.
    """

    def __init__(self, image_size: int, latent_dim: int, normalize: Literal["batch", "image"] = "batch"):
        super().__init__()
        self.normalize = normalize
        self.attention = nn.MultiheadAttention(image_size * image_size, num_heads=1, batch_first=True)
        self.importance = nn.Linear(3 * image_size * image_size, latent_dim)
        self.activation = nn.SiLU()

    def attend(self, images: Tensor) -> Tensor:
        """Output of the attention (B, 3, S, S): the map that the released code plots."""
        planes = images.flatten(2)  # (B, 3, S, S) -> (B, 3, S * S)
        attended: Tensor = self.attention(planes, planes, planes, need_weights=False)[0]
        return attended.view(images.shape)

    def forward(self, images: Tensor) -> Gate:
        """Gate (B, latent_dim) for masked images (B, 3, S, S); 1 where the importance is constant."""
        if self._folds(images):
            linear = folded_importance(images.flatten(2).contiguous(), self.attention, self.importance)
        else:
            linear = self.importance(self.attend(images).flatten(1))
        importance = self.activation(_at_least_float32(linear))
        over = (0, 1) if self.normalize == "batch" else (1,)
        low, high = importance.amin(over, keepdim=True), importance.amax(over, keepdim=True)
        # If the importance is constant, set it to 0 (a plain VAE) instead of computing 0 / 0.
        normalized = (importance - low) / torch.where(high > low, high - low, 1)
        return Gate(1 - normalized, importance)

    def _folds(self, images: Tensor) -> bool:
        """Whether :func:`folded_importance` applies and saves operations."""
        return (
            # Compiled and exported networks accept any batch size, so the graph must not depend on it.
            not torch.compiler.is_compiling()
            and len(images) > self.importance.out_features
            and not images.requires_grad
            and _half_precision(images.device.type) in (None, torch.bfloat16)  # float16 sums would overflow
        )


class SAAAE(VAE):
    """VAE whose posterior noise is scaled down for latents that self-attention finds important.

    Paper: VAE vs SAAAE. 77,364,995 parameters with the attention gate, 8.9 times as many as the VAE.

    The other gates are controls: they scale the noise independently of the image.

    Args:
        image_size: Height and width in pixels, a multiple of 16.
        latent_dim: Latents per image.
        gate: ``attention`` as in the paper; ``constant`` multiplies all noise by ``gate_value``; ``random`` multiplies it by
            a fixed factor per latent, drawn uniformly from [0, 1].
        gate_value: Factor of the ``constant`` gate.
        normalize: Range of the attention's min-max normalization, see :class:`SelfAttentionGate`.
        channels: See :class:`VAE`.
        noise: See :class:`VAE`.

    Example:
        >>> net = SAAAE(image_size=16, gate="constant", gate_value=0.25)
        >>> net.encode(torch.zeros(2, 3, 16, 16)).gate.scale.unique()
        tensor([0.2500])
    """

    def __init__(
        self,
        image_size: int = 64,
        latent_dim: int = 128,
        gate: Literal["attention", "constant", "random"] = "attention",
        gate_value: float = 0.5,
        normalize: Literal["batch", "image"] = "batch",
        channels: tuple[int, int, int, int] = (64, 128, 256, 512),
        noise: Literal["fresh", "frozen"] = "fresh",
    ):
        super().__init__(image_size, latent_dim, channels, noise=noise)
        if gate not in ("attention", "constant", "random") or normalize not in ("batch", "image"):
            raise ValueError(f"unknown gate {gate!r} or normalize {normalize!r}")
        if not 0 <= gate_value <= 1:
            raise ValueError(f"gate_value must be in [0, 1], got {gate_value}")
        self.attention_gate = SelfAttentionGate(image_size, latent_dim, normalize) if gate == "attention" else None
        if gate == "constant":
            self.register_buffer("fixed_gate", torch.full((1, latent_dim), gate_value))
        elif gate == "random":
            self.register_buffer("fixed_gate", torch.rand(1, latent_dim, generator=torch.Generator().manual_seed(42)))

    def gate(self, images: Tensor) -> Gate:
        """Gate for masked images (B, 3, S, S) in [-1, 1]."""
        if self.attention_gate is None:
            return Gate(self.get_buffer("fixed_gate"))
        gate: Gate = self.attention_gate(images)
        return gate
