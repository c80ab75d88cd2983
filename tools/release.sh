#!/usr/bin/env bash
# Follows the release check list up to the upload, which a person does. Needs a clean checkout.
#   tools/release.sh               # at the tag of the version in attnae/_version.py
#   tools/release.sh --rehearsal   # at any commit: no tag, changelog entry or clean checkout is asked for
# Leaves the files to upload in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
LARGEST=$((8 * 1024 * 1024)) # bytes of the wheel

rehearsal=
case ${1:-} in
  "") ;;
  --rehearsal) rehearsal=yes ;;
  *) echo "usage: tools/release.sh [--rehearsal]" >&2 && exit 2 ;;
esac
problems=0
problem() { echo "  NOT READY: $1"; problems=$((problems + 1)); }
step() { echo "== $1"; }

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' attnae/_version.py)
[[ $version ]] || { echo "attnae/_version.py states no version" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/attnae-release.XXXXXX")
trap 'rm -rf "$work"' EXIT

step "attnae $version: the version is the same everywhere"
grep -qx "version: $version" CITATION.cff || problem "CITATION.cff does not say version: $version"
if [[ ! $rehearsal ]]; then
  grep -qE "^## $version - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md || problem "CHANGELOG.md has no line '## $version - YYYY-MM-DD'"
  [[ $(git tag --points-at HEAD) == *"v$version"* ]] || problem "this commit has no tag v$version"
  [[ -z $(git status --porcelain) ]] || problem "the checkout has changes: git status"
  grep -q '^\[project.urls\]' pyproject.toml || problem "pyproject.toml has no [project.urls]; name the repository, the changelog and the issues"
fi

step "Build sdist and wheel"
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install -q build twine
rm -rf dist
"$work/tools/bin/python" -m build -o dist . > "$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
wheel=dist/attnae-$version-py3-none-any.whl
sdist=dist/attnae-$version.tar.gz
for file in "$wheel" "$sdist"; do
  [[ -f $file ]] || { echo "the build left no $file" >&2; exit 1; }
done

step "Check metadata, contents and size"
"$work/tools/bin/twine" check --strict dist/* || problem "twine check"
bytes=$(wc -c < "$wheel")
echo "$wheel: $((bytes / 1024)) KiB"
((bytes <= LARGEST)) || problem "$wheel is larger than $LARGEST bytes"
python3 -m zipfile -l "$wheel" | awk 'NR > 1 {print $1}' > "$work/wheel.txt"
tar -tzf "$sdist" | sed "s|^attnae-$version/||" > "$work/sdist.txt"
strangers=$(grep -vE "^attnae/|^attnae-$version\.dist-info/" "$work/wheel.txt" || true)
[[ -z $strangers ]] || problem "the wheel holds more than the package: $strangers"
unwanted=$(grep -E '^(data|runs|reports|tools|\.github)/|\.(ckpt|pt|pth)$' "$work/sdist.txt" || true)
[[ -z $unwanted ]] || problem "the sdist holds $unwanted"
for wanted in pyproject.toml README.md LICENSE CHANGELOG.md CITATION.cff SECURITY.md constraints.txt tests/conftest.py experiments/speed/released_moe.py benchmarks/saaae_vs_vae.yaml; do
  grep -qx "$wanted" "$work/sdist.txt" || problem "the sdist lacks $wanted"
done

step "Install the wheel in a clean environment, far from the checkout"
python3 -m venv "$work/env"
(
  "$work/env/bin/pip" install -q -c constraints.txt "$wheel"
  mkdir "$work/home"
  cd "$work/home"
  export ATTNAE_CACHE=$work/cache
  [[ $("$work/env/bin/python" -c "import attnae; print(attnae.__version__)") == "$version" ]]
  "$work/env/bin/attnae-bench" doctor
  "$work/env/bin/attnae-bench" list
  step "Run the first command"
  "$work/env/bin/attnae-bench" run saaae_vs_vae --set trainer.max_epochs=1
) || problem "the installed package does not work"

if ((problems)); then
  echo "Not ready: $problems of the checks failed."
  exit 1
fi
echo "Ready. Upload with: twine upload dist/attnae-$version*"
