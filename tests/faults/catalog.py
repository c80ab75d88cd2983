"""All faults. Importing a family registers its faults."""

import damaged_images
import interruption
import non_finite
import reproducible
import resource_exhaustion
import scale
import surroundings
import untrusted_input
from harness import CATALOG

__all__ = [
    "CATALOG",
    "LIMITS",
    "damaged_images",
    "interruption",
    "non_finite",
    "reproducible",
    "resource_exhaustion",
    "scale",
    "surroundings",
    "untrusted_input",
]

LIMITS = """
## Known limitations

- A flipped bit in `result.json` or `metrics.csv` that yields another valid number is not detected, because neither has a
  digest. `attnae-bench report --check` compares a report with its result files, but not these with the run.
- A flipped bit in an image cache of more than 1 GB is not detected, because the cache is not read completely when opened.
- Weights without a digest in their header, such as those written by other programs, are accepted if names and shapes match.
- A killed run repeats what it trained since its last checkpoint: at most one epoch by default, 20 in `epoch100*` and `paper`
  and 250 in `small*` of `saaae_vs_vae`, 5 in `paper` of `attentive_vqvae` (`checkpoint.every_n_epochs`).

## Determinism

| what | CPU, equal threads | GPU | GPU, `--set trainer.deterministic=true` |
|---|---|---|---|
| order of images, masks and noise in evaluation, training masks | yes | yes: drawn on the CPU, by seed, epoch and index | yes |
| VAE and its controls | yes | no: (transposed) convolutions of cuDNN | yes |
| SAAAE | yes | no: the same, and the attention's backward pass | yes, except for the attention, for which torch warns |
| MoE denoiser, dense, DnCNN | yes | not guaranteed: matrix products and convolutions | yes |
| Attentive VQ-VAE | yes | no: convolutions, `index_add` of the codebooks, the codes' gradient | yes |

The first column is measured above for one variant of each paper (VAE, MoE, AH). The rest is derived from the operations in a
training step and torch's list of nondeterministic operations (`torch.use_deterministic_algorithms`); all of them but the
backward pass of SAAAE's attention have a deterministic implementation. Nothing was measured on
a GPU. Other numbers of threads or devices lead to other rounding.
"""
"""Text below the table."""
