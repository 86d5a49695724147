#!/bin/bash
# Runs deploy/slurm/sweeper.sbatch for real: a Slurm of two nodes, each in a network namespace of this machine with an
# address and a host name of its own; a small study on both; one whose time runs out, and goes on in another job.
#
# Needs root and Debian's slurmctld, slurmd, slurm-client, munge; says so and ends with 77 where they are missing.
# `sweeper` and `ray` are those of the PATH. Nothing of it is left.
set -Eeuo pipefail
cd "$(dirname "$0")/../.."

skip() {
    echo "slurm.sh: skipped: $1"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "it needs root, for network namespaces"
for program in slurmctld slurmd sbatch munged ip unshare sweeper ray; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
# In a network of its own, which reaches nothing else: this machine's firewall is not in the way of the nodes.
if [ -z "${SWEEPER_OWN_NETWORK:-}" ]; then
    unshare --net true || skip "no network namespace can be made here"
    SWEEPER_OWN_NETWORK=1 exec unshare --net "$PWD/deploy/test/slurm.sh"
fi
ip link set lo up

work=$(mktemp --directory)
chmod 755 "$work"
nodes=(sweeper-1 sweeper-2)
daemons=()
tidy() {
    local status=$?
    [ "$status" = 0 ] || tail --lines 40 "$work"/*.log "$work"/job-* >&2 || true
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    for node in "${nodes[@]}"; do
        ip netns pids "$node" 2>/dev/null | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
        ip netns delete "$node" 2>/dev/null || true
    done
    wait
    ip link delete sweeper-br 2>/dev/null || true
    rm -rf "$work"
}
trap tidy EXIT
trap 'echo "slurm.sh: line $LINENO fails: $BASH_COMMAND" >&2' ERR

patiently() {  # SECONDS COMMAND…: until it succeeds
    local until=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$until" ] || { echo "in vain: $*" >&2; return 1; }
        sleep 1
    done
}

step() {
    printf '%4d s  %s\n' "$SECONDS" "$1"
}

step "a Slurm of two nodes"
ip link add sweeper-br type bridge
ip address add 10.213.7.254/24 dev sweeper-br
ip link set sweeper-br up
number=0
for node in "${nodes[@]}"; do
    number=$((number + 1))
    ip netns add "$node"
    ip link add "sweeper-v$number" type veth peer name eth0 netns "$node"
    ip link set "sweeper-v$number" master sweeper-br up
    ip -n "$node" link set lo up
    ip -n "$node" address add "10.213.7.$number/24" dev eth0
    ip -n "$node" link set eth0 up
    ip -n "$node" route add default via 10.213.7.254
done
install -d -m 755 "$work/munge" "$work/state"
head -c 128 /dev/urandom >"$work/munge/key"
chmod 600 "$work/munge/key"
munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munged.log" --seed-file="$work/munge/seed" 2>"$work/munged.log" &
daemons+=($!)
cat >"$work/slurm.conf" <<CONF
ClusterName=sweeper
SlurmctldHost=$(hostname -s)(10.213.7.254)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=${nodes[0]} NodeAddr=10.213.7.1 CPUs=1
NodeName=${nodes[1]} NodeAddr=10.213.7.2 CPUs=1
PartitionName=all Nodes=ALL Default=YES
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -D >"$work/slurmctld.out.log" 2>&1 &
daemons+=($!)
for node in "${nodes[@]}"; do
    nsenter --net="/run/netns/$node" unshare --uts bash -c 'hostname "$1" && exec slurmd -D -N "$1"' - "$node" \
        >"$work/$node.out.log" 2>&1 &
    daemons+=($!)
done
idle() { [ "$(sinfo --noheader --format %D --states idle 2>/dev/null)" = 2 ]; }
patiently 60 idle

export SWEEPER_HOME=$work/home
grid() {  # NAME EPOCHS
    cat >"$work/$1.toml" <<GRID
name = "$1"
[[datasets]]
name = "nuclei"
options = { size = [32, 32] }
[[losses]]
name = "ce"
[[losses]]
name = "unified_focal_asym"
gamma = [0.2, 0.4, 0.6]
[model]
base_filters = 4
depth = 2
[training]
epochs = $2
early_stopping_patience = 1000000
GRID
}
job() {  # SBATCH-OPTION… -- SWEEPER-WORD…: its id
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    sbatch --parsable --nodes=2 --output="$work/job-%j" "${options[@]}" deploy/slurm/sweeper.sbatch "$@"
}
ended() {  # JOB STATE
    [ "$(scontrol show job "$1" | sed --quiet 's/.*JobState=\([A-Z]*\).*/\1/p')" = "$2" ]
}
is() {  # SWEEP WORD EXPRESSION: of the object that `status --json` prints
    sweeper status "$1" --json | python3 -c "
import json, sys
status = json.load(sys.stdin)
sys.exit(not ($2))"
}

step "a study on both nodes"
grid first 3
first=$(job -- launch --grid "$work/first.toml")
patiently 600 ended "$first" COMPLETED
is first 'status["state"] == "finished" and status["counts"]["finished"] == 4'
hosts=$(python3 - <<'HOSTS'
import os, sqlite3
with sqlite3.connect(os.environ["SWEEPER_HOME"] + "/sweeper.db") as database:
    print(*sorted({host for (host,) in database.execute("SELECT host FROM attempt WHERE state = 'finished'")}))
HOSTS
)
[ "$hosts" = "${nodes[*]}" ] || { echo "trained on: $hosts" >&2; exit 1; }

step "a study whose time runs out, and goes on in another job"
grid second 60
second=$(job -- launch --grid "$work/second.toml")
patiently 600 is second 'status["counts"]["finished"] > 0'
scancel --batch --signal=USR2 "$second"  # as Slurm does five minutes before the end
patiently 600 ended "$second" COMPLETED
is second 'status["state"] == "running" and status["counts"]["finished"] < 4'
third=$(job -- resume second)
patiently 900 ended "$third" COMPLETED
is second 'status["state"] == "finished" and status["counts"]["finished"] == 4'

step "nothing of Ray is left on the nodes"
for id in "$first" "$second" "$third"; do [ ! -e "/tmp/sweeper-$id" ]; done
echo "slurm.sh: all of it holds, in $((SECONDS / 60)) min"
