"""bfloat16 training on CPUs without instructions for it."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

PRODUCTS = frozenset(
    {
        aten.convolution.default,
        aten.convolution_backward.default,
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten.baddbmm.default,
        aten.addbmm.default,
    }
)
"""Operations that autocast runs in bfloat16, and their gradients."""


def has_kernels() -> bool:
    """Whether PyTorch has fast bfloat16 kernels for this CPU: with AVX-512 or AMX, or Arm's BF16 instructions.

    Elsewhere it falls back to loops that take 10 to 100 times as long as those of float32
    (https://github.com/pytorch/pytorch/issues/118499).
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # builds without oneDNN have none
    return supported is not None and bool(supported())


class RoundedProducts(TorchDispatchMode):
    """Computes bfloat16 products with the kernels of float32.

    The factors are exact in float32, the sums have its precision, and the result is rounded to bfloat16 once: the definition of
    the instructions. Results differ from theirs only by the order of summation. Not for inference mode, in which layers arrive
    here whole, such as ``aten.conv2d``, and what is inside them passes by.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs ``func``; products of bfloat16 tensors in float32."""
        if func not in PRODUCTS or not any(_is_bfloat16(value) for value in args):
            return func(*args, **(kwargs or {}))
        results = func(*(value.float() if _is_bfloat16(value) else value for value in args), **(kwargs or {}))
        if isinstance(results, Tensor):
            return results.bfloat16()
        return tuple(value if value is None else value.bfloat16() for value in results)


class PortableBFloat16(Callback):
    """Makes ``trainer.precision=bf16-mixed`` practical on every CPU: 1.1 to 1.3 times the time of float32.

    Attributes:
        rounds: Whether products are computed in float32 and rounded.
    """

    rounds = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begins to round, if the trainer computes in bfloat16 on a CPU without kernels for it."""
        self.rounds = (
            str(trainer.precision).startswith("bf16")
            and trainer.strategy.root_device.type == "cpu"
            and not has_kernels()
        )
        if self.rounds:
            for loop in (trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
                loop.inference_mode = False  # as in the validation of a training
            self.mode = RoundedProducts()
            self.mode.__enter__()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ends rounding."""
        if self.rounds:
            self.rounds = False
            self.mode.__exit__(None, None, None)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Ends rounding."""
        self.teardown(trainer, pl_module, "")


def _is_bfloat16(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16
