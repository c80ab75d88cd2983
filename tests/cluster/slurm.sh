#!/usr/bin/env bash
# Tries `attnae-bench run --launcher slurm` on a real SLURM that is started here and stopped again; its two nodes are this
# machine under two names. The same numbers as a local run, also after a preemption; DDP on one node and on two.
# Needs root and Debian's packages.
#   PYTHON=.venv/bin/python tests/cluster/slurm.sh
set -euo pipefail
PYTHON=$(realpath -s "${PYTHON:-$(command -v python3)}")

skip() { echo "slurm.sh: skipped: $1"; exit 0; }
[[ $(id -u) == 0 ]] || skip "only root can start munged and slurmd"
if ! { command -v unshare && command -v slurmctld && command -v slurmd && command -v munged && command -v squeue; } > /dev/null; then
    command -v apt-get > /dev/null || skip "SLURM is not installed, nor is apt-get"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } \
        > /dev/null 2>&1 || skip "apt-get cannot install slurm-wlm and munge"
fi
unshare --uts true 2> /dev/null || skip "this container may not give a process another host name"
"$PYTHON" -c "import attnae, submitit" 2> /dev/null || skip "$PYTHON lacks attnae or submitit (pip install -e '.[dev]')"

home=$(mktemp -d /tmp/attnae-slurm.XXXXXX)
chmod 755 "$home"
stop() {
    code=$?
    set +e
    scancel --quiet --user="$(id -un)"
    for _ in {1..80}; do [[ -z $(squeue --noheader 2> /dev/null) ]] && break; sleep 0.5; done
    for name in slurmd-$(hostname) slurmd-zz-second slurmctld munged; do [[ -s $home/$name.pid ]] && kill "$(< "$home/$name.pid")"; done
    [[ $code == 0 ]] && rm -rf "$home" || tail -n 20 "$home"/*.log "$home"/work/runs/*/*/*/*/log.txt "$home"/work/runs/*/*/jobs/*.err
}
trap stop EXIT

mkdir -p "$home"/{munge,state,spool-$(hostname),spool-zz-second,work}
dd if=/dev/urandom of="$home/munge/key" bs=1024 count=1 status=none
chmod 400 "$home/munge/key"
chown -R munge "$home/munge"
touch "$home/munged.pid"
runuser -u munge -- munged --key-file="$home/munge/key" --socket="$home/munge/socket" --pid-file="$home/munge/pid" \
    --log-file="$home/munge/log" --seed-file="$home/munge/seed"
cp "$home/munge/pid" "$home/munged.pid"

export SLURM_CONF=$home/slurm.conf
cat > "$SLURM_CONF" << END
ClusterName=attnae
SlurmctldHost=$(hostname)
SlurmctldPort=36817
SlurmUser=root
AuthInfo=socket=$home/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool-%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd-%n.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd-%n.log
NodeName=$(hostname) Port=36818 CPUs=4
NodeName=zz-second NodeAddr=127.0.0.1 Port=36819 CPUs=4
PartitionName=main Nodes=ALL Default=YES
END
slurmctld
slurmd
unshare --uts sh -c 'hostname zz-second && slurmd'
for _ in {1..60}; do [[ $(sinfo --noheader --format="%T %D") == "idle 2" ]] && break; sleep 0.5; done
[[ $(sinfo --noheader --format="%T %D") == "idle 2" ]]

cd "$home/work"
export ATTNAE_CACHE=$home/cache
bench() { "$PYTHON" -m attnae.bench.app "$@"; }
tiny() { # benchmark, then options; one thread a run
    bench run "$1" --label tiny --set trainer.accelerator=cpu --set data.init_args.train_images=32 \
        --set data.init_args.test_images=8 --set data.init_args.val_images=8 --set data.init_args.batch_size=16 "${@:2}"
}
small() {
    tiny saaae_vs_vae --set data.init_args.image_size=16 --set model.init_args.net.init_args.image_size=16 \
        --set 'model.init_args.net.init_args.channels=[4,4,4,4]' --set model.init_args.net.init_args.latent_dim=8 "$@"
}
until_over() { for _ in {1..600}; do [[ -z $(squeue --noheader) ]] && return; sleep 1; done; squeue; return 1; }
until_there() { # as long as a job is there that may write it
    for _ in {1..3000}; do
        compgen -G "$1" > /dev/null && return
        [[ -n $(squeue --noheader) ]] || break
        sleep 0.2
    done
    echo "slurm.sh: no $1"; return 1
}
says() { grep -q -- "$1" "$home/said" || { echo "slurm.sh: did not say '$1':"; cat "$home/said"; return 1; }; }
slurm=(--launcher slurm --slurm-option cpus_per_task=1 --slurm-option time=30)

echo "slurm.sh: two runs as an array"
small --variants vae,saaae --set trainer.max_epochs=3 "${slurm[@]}" > "$home/said"; says "Submitted 2 runs"
bench status > "$home/said"; says "job"
small --variants vae,saaae --set trainer.max_epochs=3 "${slurm[@]}" > "$home/said"; says "2 runs are already queued or running"
until_over
small --variants vae,saaae --set trainer.max_epochs=3 "${slurm[@]}" > "$home/said"; says "2 already complete"; says "Report: "
bench status > "$home/said"; [[ $(grep -c complete "$home/said") == 2 ]]

echo "slurm.sh: a preempted run goes on from its checkpoint"
small --variants vae --seeds 2, --set trainer.max_epochs=200 "${slurm[@]}" > "$home/said"; says "Submitted 1 run"
until_there "runs/saaae_vs_vae/tiny/vae/seed2-*/checkpoints/last.ckpt"
scancel --signal=USR2 "$(squeue --noheader --format=%i)"
until_over
grep -q -- --ckpt_path runs/saaae_vs_vae/tiny/vae/seed2-*/log.txt

echo "slurm.sh: two processes on a machine, then two machines train one run (DDP)"
ddp() { tiny moe_denoising --variants moe --set trainer.max_epochs=1 "$@"; }
ddp --devices 2 "${slurm[@]}" > "$home/said"; says "Submitted 1 run"
ddp --nodes 2 "${slurm[@]}" > "$home/said"; says "Submitted 1 run"
until_over
for log in runs/moe_denoising/tiny/moe/seed1-*/log.txt; do # one of each rank, not two trainings of one
    [[ $(grep -c "MEMBER: 1/2" "$log") == 1 && $(grep -c "MEMBER: 2/2" "$log") == 1 ]]
done

echo "slurm.sh: the same runs without SLURM"
all=$(nproc)
small --variants vae,saaae --set trainer.max_epochs=3 --out local --jobs "$all" > "$home/said"
small --variants vae --seeds 2, --set trainer.max_epochs=200 --out local --jobs "$all" > "$home/said"
ddp --devices 2 --out local > "$home/said"
"$PYTHON" - << 'END'
from pathlib import Path
from attnae.result import read_result

(two,) = Path("local/moe_denoising").rglob("result.json")
for path in sorted(Path("runs").rglob("result.json")):
    ours = read_result(path)
    local = read_result(two if ours.variant == "moe" else Path("local", *path.parts[1:]))
    assert ours.status == "complete" and ours.metrics and ours.metrics == local.metrics, (path, ours.reason)
    print(f"slurm.sh: {ours.variant}/seed{ours.seed} equals the local run in {len(ours.metrics)} metrics")
END
echo "slurm.sh: passed"
