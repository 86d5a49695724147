#!/bin/bash
# What a container of the Sweeper image is: `head`, `worker`, `mlflow`, `password`, `job` with a `sweeper` command, or any
# `sweeper` command.
set -eu

# Programs that want a password in their environment get it here, from the files of Compose's secrets: it stands in no
# container's configuration and on no command line.
from_file() {
    local file=${SECRETS_FOLDER:-/run/secrets}/$2
    if [ -r "$file" ]; then
        export "$1=$(<"$file")"
    fi
}
from_file PGPASSWORD database_password
from_file MLFLOW_TRACKING_PASSWORD mlflow_password

# Ray would take a share of the host's memory for its objects and, where that is more than the container's shared memory,
# put them into /tmp.
objects=$(df --block-size=1 --output=avail /dev/shm | awk 'NR == 2 {printf "%d", 0.9 * $1}')

# The address by which the head reaches this container, which may stand in several networks.
own_address() {
    python3 -c '
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
try:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.connect((host, int(port)))
except (OSError, ValueError) as error:
    sys.exit(f"RAY_HEAD={sys.argv[1]}: {error}; expected HOST:PORT of the Ray head")
print(probe.getsockname()[0])' "$RAY_HEAD"
}

# The command that joins the cluster. A driver has to stand on a node of it, so `sweeper` commands join too.
join() {
    : "${RAY_HEAD:?set RAY_HEAD to HOST:PORT of the Ray head}"
    local address
    address=$(own_address)
    command=(ray start --address="$RAY_HEAD" --node-ip-address="$address" --disable-usage-stats
        --include-log-monitor=false --object-store-memory="$objects")
}

join_as_driver() {
    join
    "${command[@]}" --num-cpus=0 --num-gpus=0 >/dev/null
}

joined() {
    grep --quiet --no-messages --line-regexp raylet /proc/[0-9]*/comm
}

# Coordinators are processes of their own. By this signal they let what runs end after its epoch, and leave their sweeps
# to the next service.
end_all() {
    local coordinators
    coordinators=$(grep --files-with-matches --no-messages --null-data --line-regexp resume /proc/[0-9]*/cmdline |
        cut --delimiter=/ --fields=3)
    kill -USR2 $coordinators 2>/dev/null || true
    kill -TERM "$server" 2>/dev/null || true
    while kill -0 $coordinators 2>/dev/null; do sleep 1; done
}

role=${1:-}
case $role in
head)
    exec ray start --head --block --port=6379 --num-cpus=0 --num-gpus=0 --include-dashboard=false \
        --disable-usage-stats --object-store-memory="$objects" "${@:2}"
    ;;
worker)
    join
    exec "${command[@]}" --block
    ;;
mlflow)
    from_file MLFLOW_AUTH_ADMIN_PASSWORD mlflow_password
    from_file MLFLOW_FLASK_SERVER_SECRET_KEY mlflow_csrf_key
    hosts=mlflow:5000,localhost:*,127.0.0.1:* origins=
    for host in ${HOSTS//,/ }; do
        hosts+=",$host,$host:*"
        origins+="${origins:+,}http://$host,https://$host,http://$host:*,https://$host:*"
    done
    export MLFLOW_SERVER_ALLOWED_HOSTS=$hosts
    [ -z "$origins" ] || export MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=$origins
    # The server reads the database's address from the environment. Tables of an older MLflow are brought to its own.
    mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
    # Workers that do not answer within five seconds would be ended, before they have started on a busy host, for ever.
    exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers "${MLFLOW_WORKERS:-2}" \
        --uvicorn-opts "--timeout-worker-healthcheck 120" --artifacts-destination "$MLFLOW_ARTIFACTS"
    ;;
password)
    # MLflow keeps its account's password from its first start on; this gives it the one of the secret file.
    exec python3 -c '
import os
from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
accounts = SqlAlchemyStore()
accounts.init_db(read_auth_config().database_uri)
name = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"]
if accounts.has_user(name):
    accounts.update_user(name, password=os.environ["MLFLOW_TRACKING_PASSWORD"])'
    ;;
launch | resume)
    join_as_driver
    RAY_ADDRESS=auto
    export RAY_ADDRESS
    exec sweeper "$@"
    ;;
job)
    # A `sweeper` command as a job of Ray, on the head, where Ray has set RAY_ADDRESS.
    sweeper db upgrade
    exec sweeper "${@:2}"
    ;;
serve)
    # The service wants a file that it alone can read.
    install -m 600 "${SECRETS_FOLDER:-/run/secrets}/sweeper_tokens" /tmp/sweeper_tokens
    export SWEEPER_TOKENS_FILE=/tmp/sweeper_tokens
    sweeper db upgrade
    join_as_driver
    RAY_ADDRESS=auto sweeper "$@" &
    server=$!
    trap end_all TERM INT
    # A head that is lost takes this node with it. The container then ends and is started again, joins the new head,
    # and the service goes on with what was running.
    while kill -0 "$server" 2>/dev/null && joined; do
        sleep 2 &
        wait $! || true
    done
    if kill -0 "$server" 2>/dev/null; then
        echo "this node of the Ray cluster is gone; the service starts anew" >&2
        kill -KILL "$server"
        exit 1
    fi
    wait "$server"
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
