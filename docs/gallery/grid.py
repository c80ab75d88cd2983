"""Does a conclusion depend on the mask and on the learning rate? Two variants, three seeds, four settings."""

from __future__ import annotations

from common import arguments

from attnae.bench import app

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
