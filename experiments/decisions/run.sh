#!/usr/bin/env bash
# Runs one experiment of README.md from a clone of a fixed tag. Rerun the same command to resume it.
#
#   experiments/decisions/run.sh EXPERIMENT TAG [options]
#
#   EXPERIMENT         M1 T1 V1 S1 L1 M3 M2 V2 S2 V3
#   TAG                tag or commit to run; `here` runs this checkout as it is, for trials
#   --data DIR         folder with cifar10/, natural64/ and celeba/ (default: data)
#   --work DIR         clones, environments, runs and reports, one folder per tag (default: ../decisions)
#   --python FILE      interpreter that has the dependencies; without it, an environment is made from constraints.txt
#   --cores LIST       cores to use, such as 0 or 0,1: one run with one thread on each (default: all)
#   --precision P      fp32 or bf16 (default: fp32)
#   --dry-run          print the plan of every command and run nothing
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
[[ $# -ge 2 ]] || usage
experiment=$1 tag=$2
shift 2
source_root=$(cd "$(dirname "$0")/../.." && pwd)
data=$source_root/data work=$source_root/../decisions python= precision=fp32 dry=
cores=$(seq -s, 0 $(($(nproc) - 1)))
while [[ $# -gt 0 ]]; do
    case $1 in
        --data) data=$(cd "$2" && pwd); shift 2 ;;
        --work) work=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --cores) cores=$2; shift 2 ;;
        --precision) precision=$2; shift 2 ;;
        --dry-run) dry=--dry-run; shift ;;
        *) usage ;;
    esac
done

mkdir -p "$work/$tag"
work=$(cd "$work/$tag" && pwd)
if [[ $tag == here ]]; then
    checkout=$source_root
else
    checkout=$work/checkout
    if [[ ! -d $checkout ]]; then
        git clone --quiet --no-checkout "$source_root" "$checkout.part"
        git -C "$checkout.part" -c advice.detachedHead=false checkout --quiet "$tag"
        mv "$checkout.part" "$checkout"
    fi
fi
if [[ -z $python ]]; then
    python=$work/environment/bin/python
    if [[ ! -x $python ]]; then
        python3 -m venv "$work/environment"
        "$python" -m pip install --quiet -c "$checkout/constraints.txt" -e "$checkout"
    fi
fi
export PYTHONPATH=$checkout
jobs=$(($(tr -cd , <<<"$cores" | wc -c) + 1))
failed=0

bench() { # attnae-bench run BENCHMARK on the images DATA, with one thread per job
    local benchmark=$1 images=$2
    shift 2
    local command=(run "$benchmark" --data-root "$data/$images" "$@" --precision "$precision" --jobs "$jobs"
        --out "$work/runs" --reports "$work/reports")
    echo "+ attnae-bench ${command[*]}"
    (cd "$work" && exec nice -n 19 taskset -c "$cores" "$python" -m attnae.bench.app "${command[@]}" $dry) || failed=1
}

split_celeba() { # The first 2,400 training images of celeba and 600 others of them: no test image chooses a setting.
    [[ -d $data/celeba ]] || { echo "no folder $data/celeba" >&2; exit 2; }
    [[ -d $work/tuning/celeba_tuning ]] && return
    rm -rf "$work/tuning.part" && mkdir -p "$work"/tuning.part/celeba_tuning/{train,test}
    find -L "$data/celeba/train" -type f | LC_ALL=C sort >"$work/tuning.part/files"
    head -n 2400 "$work/tuning.part/files" | xargs -d '\n' cp -t "$work/tuning.part/celeba_tuning/train"
    sed -n 2401,3000p "$work/tuning.part/files" | xargs -d '\n' cp -t "$work/tuning.part/celeba_tuning/test"
    mv "$work/tuning.part" "$work/tuning"
}

aligned=(--set model.init_args.aligned=celeba)
case $experiment in
    M1)
        bench moe_ablation cifar10 --profile paper --seeds 10 \
            --variants moe_clamped,single_expert_clamped,dense_clamped,moe,single_expert,dense,uniform_router,dense_wide
        bench moe_ablation cifar10 --profile paper --seeds 3 --variants dncnn
        ;;
    T1)
        split_celeba
        data=$work/tuning
        for profile in short short_batchnorm; do
            for rate in 2e-4 5e-4 1e-3; do
                bench attentive_vqvae celeba_tuning --profile $profile --variants vqvae,a --seeds 1 \
                    --set trainer.max_epochs=10 --set model.init_args.lr=$rate
            done
        done
        ;;
    V1)
        for profile in short short_batchnorm; do
            bench attentive_vqvae celeba --profile $profile --seeds 3 "${aligned[@]}" \
                --variants vqvae,a,a_normalized,h,ah,ah_normalized
        done
        ;;
    S1)
        for profile in epoch100 epoch100_fresh; do
            bench saaae_vs_vae natural64 --profile $profile --variants vae,saaae --seeds 3
        done
        ;;
    L1)
        for rate in 5e-4 2e-3; do
            bench moe_denoising cifar10 --profile short --variants moe,dense --seeds 1 --set model.init_args.lr=$rate
            bench saaae_vs_vae natural64 --profile short --variants vae,saaae --seeds 1 \
                --set trainer.max_epochs=10 --set model.init_args.lr=$rate
        done
        bench moe_denoising cifar10 --profile short --variants moe,dense --seeds 1
        bench saaae_vs_vae natural64 --profile short --variants vae,saaae --seeds 1 --set trainer.max_epochs=10
        ;;
    M3) bench moe_denoising cifar10 --profile paper --variants moe --seeds 5 ;;
    M2) bench moe_denoising cifar10 --profile paper_linear --variants moe,dense,single_expert --seeds 3 ;;
    V2)
        for profile in short_batchnorm short; do
            bench vq_codebooks celeba --profile $profile --variants all --seeds 3
        done
        ;;
    S2)
        for profile in small small_fresh; do
            bench saaae_vs_vae natural64 --profile $profile --variants vae,saaae --seeds 3
        done
        ;;
    V3) bench vqvae_adversary celeba --profile short --seeds 3 "${aligned[@]}" ;;
    *) usage ;;
esac
exit $failed
