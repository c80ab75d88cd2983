#!/usr/bin/env bash
# Runs the tests on every Python that pyproject.toml claims, with the versions of constraints.txt: one environment after another,
# each removed before the next, 7 GB at a time. Arguments go to pytest; without any, all but the slow tests.
#   tests/versions/pythons.sh
#   PYTHONS="3.10 3.13" tests/versions/pythons.sh tests/metrics -k ssim
set -euo pipefail
cd "$(dirname "$0")/../.."
pythons=${PYTHONS:-$(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml)}
home=$(mktemp -d "${TMPDIR:-/tmp}/attnae-pythons.XXXXXX")
trap 'rm -rf "$home"' EXIT
export UV_PYTHON_DOWNLOADS=never  # only Pythons that are installed here
if command -v pyenv > /dev/null; then  # make every version that pyenv has visible
  PYENV_VERSION=$(pyenv versions --bare | sort -rV | paste -sd:)
  export PYENV_VERSION
fi

python3 -m venv "$home/uv"
"$home/uv/bin/pip" install -q uv
uv=$home/uv/bin/uv
failed=()
for python in $pythons; do
  echo "== Python $python"
  "$uv" venv -q --seed --no-project --python "$python" "$home/env" &&
    VIRTUAL_ENV=$home/env "$uv" pip install -q -c constraints.txt -e ".[dev]" &&
    "$home/env/bin/python" -m pytest -n 3 --dist loadfile -q --disable-warnings "${@:--m not slow}" ||
    failed+=("$python")
  rm -rf "$home/env"
done
[[ ${#failed[@]} == 0 ]] || { echo "Failed on Python ${failed[*]}"; exit 1; }
echo "Passed on Python" $pythons
