#!/bin/bash
# Runs docker-compose.yml for real: builds, starts, runs a study through the API, kills each service once meanwhile,
# upgrades a database of schema 0001, backs up, restores into fresh volumes, and looks whether secrets leak. A project,
# images and ports of its own; nothing of it is left.
#
# Without an engine, its compose plugin, or images, it says so and ends with 77. As root it starts an engine itself.
#   BASE_IMAGE, POSTGRES_IMAGE   other base images than the pinned ones; where those cannot be pulled and debootstrap is
#                                there, stand-ins are made (deploy/test/stand-ins.sh)
#   CA_BUNDLE                    see deploy/README.md
#   KEEP_IMAGE=1                 leaves the image that was built, whose packages the next run need not load again
set -Eeuo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/test/steps.sh
. deploy/test/steps.sh

work=$(mktemp --directory)
engine=
tidy() {
    local status=$?
    if [ -n "${built:-}" ]; then
        [ "$status" = 0 ] || docker compose logs --tail 30 2>&1 | tail -150
        docker compose --profile tools down --volumes --timeout 5 >/dev/null 2>&1 || true
        [ -n "${KEEP_IMAGE:-}" ] || docker image rm --force sweeper:up-test-cpu >/dev/null 2>&1 || true
    fi
    if [ -n "$engine" ]; then
        kill "$engine" && wait "$engine" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap tidy EXIT
trap 'echo "up.sh: line $LINENO fails: $BASH_COMMAND" >&2' ERR

command -v docker >/dev/null || skip "docker is not installed"
if ! docker info >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && command -v dockerd >/dev/null || skip "no engine answers, and none can be started"
    export DOCKER_HOST=unix://$work/docker.sock
    dockerd --data-root "$work/data" --exec-root "$work/exec" --host "$DOCKER_HOST" --pidfile "$work/pid" \
        --storage-driver overlay2 >"$work/dockerd.log" 2>&1 &
    engine=$!
    patiently 60 docker info >/dev/null || skip "no engine can be started: $(tail -1 "$work/dockerd.log")"
fi
docker compose version >/dev/null 2>&1 || skip "docker compose is not installed"

export COMPOSE_PROJECT_NAME=sweeper-up-test COMPOSE_PROFILES=cpu COMPOSE_FILE=docker-compose.yml SWEEPER_TAG=up-test
export BIND=127.0.0.1 MLFLOW_PORT=25000 API_PORT=28080 BOARD_PORT=28050 DATA=$work/data-sets
mkdir --mode 755 "$DATA"
limit=$(ulimit -Hn)
[ "$limit" = unlimited ] || [ "$limit" -ge 65536 ] || export RAY_OPEN_FILES=$limit

step "nothing starts without secrets"
refused "run make secrets" env --unset SECRETS docker compose --env-file /dev/null up --detach --no-build
deploy/secrets.sh "$work" >/dev/null
export SECRETS=$work/secrets

step "images"
if [ -z "${BASE_IMAGE:-}" ]; then
    for image in $(sed -n 's/^ARG BASE_IMAGE=//p' deploy/Dockerfile) \
        "$(sed -n 's/.*{POSTGRES_IMAGE:-\(.*\)}/\1/p' docker-compose.yml)"; do
        docker pull --quiet "$image" >/dev/null 2>&1 && continue
        [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || skip "$image cannot be pulled, nor a stand-in be made"
        echo "$image cannot be pulled: stand-ins"
        export BASE_IMAGE=sweeper-stand-in-python POSTGRES_IMAGE=sweeper-stand-in-postgres
        deploy/test/stand-ins.sh "$BASE_IMAGE" "$POSTGRES_IMAGE"
        break
    done
fi
built=1
docker compose --profile tools down --volumes >/dev/null 2>&1  # what a run that was killed has left
docker compose build --quiet service

step "an older database is brought to this schema by the first start"
start postgres
in_image 'import sys; from alembic import command; from storage import schema; from storage.database import open_database
from sqlalchemy import create_engine; import os
config = schema._config()
with create_engine(os.environ["SWEEPER_DATABASE_URL"]).begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")'
docker compose exec -T --env PGOPTIONS="--role=sweeper" postgres psql --quiet --username postgres --dbname sweeper \
    --set ON_ERROR_STOP=1 <tests/storage/fixtures/schema-0001.sql
# The fixture names its rows' numbers; whoever had written them by the program would have drawn them.
sql sweeper "SELECT setval(pg_get_serial_sequence(table_name, 'id'), 100) FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name = 'id' AND pg_get_serial_sequence(table_name, 'id') IS NOT NULL" >/dev/null
[ "$(sql sweeper 'SELECT version_num FROM sweeper_schema')" = 0001 ]
start
[ "$(sql sweeper 'SELECT version_num FROM sweeper_schema')" != 0001 ]
api GET 'sweeps' | grep --quiet '"old study"'
sql sweeper "UPDATE sweep SET state = 'stopped'" >/dev/null  # its grid is none that could be gone on with

step "who may do what"
[ "$(published)" = "127.0.0.1:25000 127.0.0.1:28050 127.0.0.1:28080" ]
[ "$(status_of http://127.0.0.1:28080/api/v1/sweeps)" = 401 ]
[ "$(status_of http://127.0.0.1:25000/api/2.0/mlflow/experiments/get?experiment_id=0)" = 401 ]
[ "$(status_of http://127.0.0.1:25000/health --header 'Host: elsewhere.example')" != 500 ]
[ "$(status_of http://127.0.0.1:25000/ --header 'Host: elsewhere.example')" = 403 ]
[ "$(status_of http://127.0.0.1:28050/)" = 200 ]
[ "$(status_of http://127.0.0.1:28080/api/v1/sweeps --request POST --header "$(bearer read)" --json '{"grid": "demo"}')" = 403 ]
[ "$(as_reader 'SELECT count(*) FROM sweep')" = 1 ]
refused "permission denied" as_reader "DELETE FROM sweep"
refused "" docker compose exec -T --env RAY_AUTH_TOKEN_PATH=/etc/hostname ray-head ray health-check --address ray-head:6379
refused "Read-only file system" docker compose exec -T service touch /opt/sweeper/x
[ "$(docker compose exec -T service id --user)" = 10001 ]

step "a study through the API, and each service killed once"
# Trials of some seconds, enough to outlast the kills on a quick machine, too. A kill waits until one more is finished,
# and so meets a sweep that has got over the last.
api POST sweeps "$(study)" >/dev/null
for service in ray-worker ray-head service postgres mlflow board; do
    patiently 600 answers
    before=$(finished)
    patiently 600 more_than "$before"
    [ "$(state)" = running ]
    container=$(docker compose ps --quiet "$service")
    docker kill "$container" >/dev/null
    sleep 3
    docker start "$container" >/dev/null
    echo "$service was killed with $before of $trials trials finished, and started again"
done

step "down and up in the middle: the sweep goes on"
patiently 600 more_than "$(finished)"
docker compose down >/dev/null 2>&1
start
[ "$(state)" = running ]
patiently 600 more_than "$(finished)"

step "MLflow away as the sweep ends: the service sends it the rest when it is back"
[ "$(state)" = running ]
before=$(given_up)
container=$(docker compose ps --quiet mlflow)
docker kill "$container" >/dev/null
patiently 3000 is finished
[ "$(finished)" = "$trials" ]
patiently 300 given_up_more_than "$before"
docker start "$container" >/dev/null

step "results are complete"
patiently 600 complete "$work/before.json"
docker compose exec -T service test -e /var/lib/sweeper/logs/up-test.delivery.log
runs=$(mlflow_runs)
said=$(docker compose run --rm -T sweeper report up-test </dev/null 2>&1) || { echo "$said" >&2; exit 1; }

step "no secret stands in a log or in a container's configuration"
no_secret_leaks

step "down and up lose nothing"
docker compose down >/dev/null 2>&1
start
results | cmp - "$work/before.json"

step "backup, and restore into fresh volumes with fresh secrets"
deploy/backup.sh "$work/backup" 2>/dev/null
refused "there are data already" deploy/restore.sh "$work/backup"
results | cmp - "$work/before.json"
docker compose down --volumes >/dev/null 2>&1
mv "$work/secrets" "$work/old-secrets"
deploy/secrets.sh "$work" >/dev/null
deploy/restore.sh "$work/backup" 2>/dev/null
start
results | cmp - "$work/before.json"
[ "$(mlflow_runs)" = "$runs" ]
[ "$(as_reader "SELECT count(*) FROM sweep WHERE name = 'up-test'")" = 1 ]
docker compose exec -T service test -s /var/lib/sweeper/reports/up-test/report.html
said=$(docker compose run --rm -T sweeper resume up-test </dev/null 2>&1) || { echo "$said" >&2; exit 1; }
grep --quiet "nothing to train" <<<"$said" || { echo "resume says: $said" >&2; exit 1; }
no_secret_leaks

step "a forced restore puts the backup in the place of what is there"
sql sweeper "UPDATE sweep SET description = 'changed'" >/dev/null
deploy/restore.sh "$work/backup" --force 2>/dev/null
[ "$(sql sweeper "SELECT count(*) FROM sweep WHERE description = 'changed'")" = 0 ]
[ "$(sql sweeper "SELECT count(*) FROM trial WHERE state = 'finished'")" = $((trials + 1)) ]  # one is of the older database

step "down"
docker compose --profile tools down --volumes >/dev/null 2>&1
[ -z "$(docker volume ls --quiet --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME)" ]
echo "up.sh: all of it holds, in $((SECONDS / 60)) min"
