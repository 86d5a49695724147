#!/bin/sh
# What a container of the Sweeper image is: `head`, `worker`, `mlflow`, or any `sweeper` command. Passwords come from
# the environment and reach no command line.
set -eu

# Ray would take a share of the host's memory for its objects and, where that is more than the container's shared memory,
# put them into /tmp.
objects=$(df --block-size=1 --output=avail /dev/shm | awk 'NR == 2 {printf "%d", 0.9 * $1}')

join() {
    # RAY_HEAD is HOST:PORT of the head. A driver has to stand on a node of the cluster, so `sweeper` commands join too.
    : "${RAY_HEAD:?set RAY_HEAD to HOST:PORT of the Ray head}"
    ray start --address="$RAY_HEAD" --disable-usage-stats --include-log-monitor=false \
        --object-store-memory="$objects" "$@"
}

role=${1:-}
case $role in
head)
    exec ray start --head --block --port=6379 --num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1 \
        --disable-usage-stats --object-store-memory="$objects"
    ;;
worker)
    join --block
    ;;
mlflow)
    # MLflow reads MLFLOW_BACKEND_STORE_URI from the environment.
    exec mlflow server --host 0.0.0.0 --port 5000 --workers "${MLFLOW_WORKERS:-2}" \
        --artifacts-destination "${MLFLOW_ARTIFACTS:-/var/lib/mlflow/artifacts}" \
        --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:?set MLFLOW_ALLOWED_HOSTS}"
    ;;
launch | resume)
    join --num-cpus=0 --num-gpus=0 >/dev/null
    RAY_ADDRESS=auto
    export RAY_ADDRESS
    exec sweeper "$@"
    ;;
doctor)
    RAY_ADDRESS=$RAY_HEAD  # so that it asks whether the head answers
    export RAY_ADDRESS
    exec sweeper "$@"
    ;;
*)
    exec sweeper "$@"
    ;;
esac
