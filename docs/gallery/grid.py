"""Does a conclusion depend on the mask and on the learning rate? Two variants, three seeds, four settings."""

from __future__ import annotations

import matplotlib.pyplot as plt
from common import arguments, save, write

import attnae.bench as bench
from attnae.bench import app

CLAIM = 2  # SAAAE fills in held-out images better than a VAE

options = arguments(__doc__)
NET, MASK = "model.init_args.net.init_args", "data.init_args.corruption"
small = {
    f"{NET}.image_size": 32,
    f"{NET}.channels": [16, 16, 16, 16],
    "data.init_args.image_size": 32,
    "data.init_args.train_images": 128,
    "data.init_args.test_images": 64,
    "data.init_args.batch_size": 16,
    "trainer.max_epochs": 4,
    "trainer.accelerator": "cpu",
}
words = ["run", "saaae_vs_vae", "--variants=vae,saaae", "--seeds=3", "--label=grid"]
words += [f"--set={key}={value}" for key, value in small.items()]
words += [f"--grid={MASK}.init_args.size=4,8", "--grid=model.init_args.lr=1e-3,3e-4"]
words += [f"--out={options.work / 'runs'}", f"--reports={options.work / 'reports'}"]
words += [f"--data-root={options.data_root}"] if options.data_root else []
assert app.main(words) == 0

claims = [
    claim
    for claim in bench.results(options.work / "reports/saaae_vs_vae").claims()
    if claim["label"].startswith("grid-") and claim["number"] == CLAIM
]
lines = [f"Claim: {claims[0]['claim']}"]
figure, plot = plt.subplots(figsize=(9, 3))
for height, claim in enumerate(reversed(claims)):
    low, estimate, high = claim["low"], claim["estimate"], claim["high"]
    plot.errorbar(estimate, height, xerr=[[estimate - low], [high - estimate]], fmt="o", color="C0", capsize=3)
for claim in claims:
    size, rate = claim["label"].removeprefix("grid-").removeprefix("data.corruption.").split("_")
    lines.append(
        f"{size}, {rate}: {claim['estimate']:+.2f} [{claim['low']:+.2f}, {claim['high']:+.2f}], {claim['verdict']}"
    )
write(options.out / "grid.txt", lines)
plot.axvline(0, color="gray", lw=1)
plot.set(yticks=range(len(claims)), yticklabels=[line.partition(":")[0] for line in reversed(lines[1:])])
plot.set(ylim=(-0.5, len(claims) - 0.5), xlabel="squared error of SAAAE minus VAE, held-out images (lower is better)")
figure.tight_layout()
save(figure, options.out / "grid.png")
