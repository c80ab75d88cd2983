"""STL-10 at 64x64, or a substitute."""

from __future__ import annotations

from attnae.data.base import ImageDataModule


class STL10DataModule(ImageDataModule):
    """5,000 training and 8,000 held-out images of STL-10, resized from 96x96; see :class:`ImageDataModule`.

    Paper: VAE vs SAAAE. Released code: trains and evaluates on the ``train`` split only, resized to 64x64 with PIL's
    antialiased bilinear filter. We: the same training images, with ``test`` as the held-out split.
    """

    dataset = "STL-10"
