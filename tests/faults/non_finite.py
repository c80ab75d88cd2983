"""Non-finite numbers, and inputs for which a formula is undefined."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import torch
from harness import SMALL, Tally, fault, fit_arguments, here, refused, scratch

from attnae.metrics.codebook import CodebookUse
from attnae.metrics.functional import PSNR_LIMIT, psnr, ssim_gaussian, ssim_uniform
from attnae.papers.attentive_vqvae.quantizer import Quantizer
from attnae.papers.moe_denoiser.net import load_balance_loss
from attnae.papers.saaae.net import SelfAttentionGate

RATES = ("1e30", "inf", "nan", "1e12", "1e20")


@fault(
    "Numerically safe",
    "Learning rates of 1e12 to 1e30, infinite and none at all; one benchmark per paper",
    "The run stops before non-finite weights are saved in a checkpoint, with one line that names the step and the first "
    "tensor or loss that is not finite; no weights are left that could be taken for finished ones",
    short=3,
    long=15,
)
def diverging(tally: Tally, times: int, folder: Path) -> None:
    for rate in RATES[: max(1, times // 3)]:
        for benchmark in SMALL:
            with tally.attempt(f"{benchmark}, {rate}"):
                cwd = scratch(folder)
                done = here(
                    "attnae", *fit_arguments(Path("run"), benchmark, 6), f"--model.init_args.lr={rate}", cwd=cwd
                )
                refused(done)
                assert not list(cwd.glob("run/weights.safetensors"))
                if "learning rate" not in done.err and "lr" not in done.err.split("Lower")[0]:
                    assert re.search(r"at step \d+ \(epoch \d+\)", done.err), done.err
                    assert re.search(r"the (weight|output of|batch's) [\w.]+|\w+ (nan|-?inf)", done.err), done.err
                for checkpoint in cwd.glob("run/checkpoints/*.ckpt"):
                    state = torch.load(checkpoint, weights_only=True)["state_dict"]
                    assert all(tensor.isfinite().all() for tensor in state.values()), "a checkpoint of broken weights"


def finite(*tensors: torch.Tensor) -> None:
    assert all(tensor.isfinite().all() for tensor in tensors)


def constant_gate() -> None:
    gate = SelfAttentionGate(8, 4).requires_grad_()
    torch.nn.init.zeros_(gate.importance.weight)
    torch.nn.init.zeros_(gate.importance.bias)
    for images in (torch.zeros(2, 3, 8, 8), torch.rand(9, 3, 8, 8)):
        scale = gate(images).scale
        scale.sum().backward()
        assert (scale == 1).all()
        finite(*(p.grad for p in gate.parameters() if p.grad is not None))


def flat_images() -> None:
    for value in (0.0, 0.5, 1.0):
        flat = torch.full((2, 3, 16, 16), value)
        for ssim in (ssim_uniform, ssim_gaussian):
            assert torch.allclose(ssim(flat, flat), torch.ones(2))
            finite(ssim(flat, 1 - flat), ssim(flat, torch.rand(2, 3, 16, 16)))


def identical_images() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert psnr(images, images).tolist() == [PSNR_LIMIT] * 2


def empty_batches() -> None:
    for codebook in ("ema", "gradient"):
        quantizer = Quantizer(8, 4, codebook, revive=0.5)  # type: ignore[arg-type]
        before = quantizer.codebook.detach().clone()
        latents, loss, codes = quantizer(torch.zeros(0, 4, 2, 2))
        assert latents.shape == (0, 4, 2, 2)
        assert codes.shape == (0, 2, 2)
        assert loss == 0
        assert torch.equal(quantizer.codebook, before)


def no_codes() -> None:
    use = CodebookUse(8).compute()
    assert use.active_codes == 0
    assert math.isnan(use.perplexity)  # a missing value in every file and table


def saturated_router() -> None:
    logits = torch.zeros(2, 5, 3)
    logits[..., 1] = 1e4
    logits.requires_grad_()
    loss = load_balance_loss([logits.softmax(-1)])
    loss.backward()
    assert loss > 1
    assert logits.grad is not None
    finite(loss.detach(), logits.grad)


CASES: dict[str, Callable[[], None]] = {
    "SAAAE's min-max of a constant map": constant_gate,
    "SSIM of flat images": flat_images,
    "PSNR of identical images": identical_images,
    "codebooks with empty batches": empty_batches,
    "perplexity of no codes": no_codes,
    "a router that saturates": saturated_router,
}


@fault(
    "Numerically safe",
    ", ".join(CASES),
    "A plain VAE; 1; 100 dB; loss 0 and an unchanged codebook; a missing value; a large finite loss with a gradient",
    short=len(CASES),
    long=len(CASES),
)
def edges(tally: Tally, times: int, folder: Path) -> None:
    for name, case in CASES.items():
        with tally.attempt(name):
            case()
