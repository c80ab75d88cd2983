#!/usr/bin/env bash
# Runs the tests with the lowest version of every dependency that pyproject.toml allows, in an environment of its own.
# Downloads 3 GB the first time; uv does what pip has no option for. Arguments go to pytest; without, all but the slow tests.
#   tests/versions/lowest.sh
#   tests/versions/lowest.sh tests/metrics -k ssim
set -euo pipefail
cd "$(dirname "$0")/../.."
home=${ATTNAE_LOWEST:-}  # a folder that keeps the environment for the next time
[[ $home ]] || { home=$(mktemp -d /tmp/attnae-lowest.XXXXXX); trap 'rm -rf "$home"' EXIT; }

[[ -x $home/uv/bin/uv ]] || { python3 -m venv "$home/uv" && "$home/uv/bin/pip" install -q uv; }
[[ -x $home/env/bin/python ]] || "$home/uv/bin/uv" venv -q --python python3 "$home/env"
VIRTUAL_ENV=$home/env "$home/uv/bin/uv" pip install -q --resolution lowest-direct -e ".[dev]"
VIRTUAL_ENV=$home/env "$home/uv/bin/uv" pip list 2> /dev/null | grep -E "^(torch|torchvision|lightning|torchmetrics|jsonargparse|numpy|wandb) "
"$home/env/bin/python" -m pytest -n 3 --dist loadfile -q --disable-warnings "${@:--m not slow}"
