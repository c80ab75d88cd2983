"""All faults: importing a family adds it."""

import damaged_images
import interruption
import non_finite
import reproducible
import resource_exhaustion
import scale
import surroundings
import untrusted_input
from harness import CATALOGUE

__all__ = [
    "CATALOGUE",
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
## What is not noticed

- A turned bit in `result.json` or `metrics.csv` that leaves another valid number: neither has a digest. `attnae-bench report
  --check` compares a report with its result files, not these with the run.
- A turned bit in an image cache of more than 1 GB, which is not read as a whole when it is opened.
- Weights without a digest in their header, such as other programs write, are believed if names and shapes fit.
- A run that is killed in an epoch does that epoch again: a checkpoint is written at its end, in profile `paper` every 20.

## What is deterministic

| what | CPU, equal threads | GPU | GPU, `--set trainer.deterministic=true` |
|---|---|---|---|
| order of images, masks and noise at evaluation, training masks | yes | yes: drawn on the CPU, by seed, epoch and index | yes |
| VAE and its controls | yes | no: (transposed) convolutions of cuDNN | yes |
| SAAAE | yes | no: the same, and the attention's backward pass | yes, but for the attention where torch warns |
| MoE denoiser, dense, DnCNN | yes | no promise: matrix products and convolutions | yes |
| Attentive VQ-VAE | yes | no: convolutions, `index_add` of the codebooks, the codes' gradient | yes |

The first column is measured above. The others are read off the operations that a training step calls and torch's list of
those that are not deterministic (`torch.use_deterministic_algorithms`); none of them is on its list of operations without a
deterministic form. They have not been measured on a GPU. Other numbers of threads or devices give other roundings.
"""
"""What the table does not say."""
