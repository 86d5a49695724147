#!/bin/bash
# Puts a backup into the volumes of this host. Changes nothing before the backup is found whole, and refuses volumes that
# hold anything unless told with --force, which deletes what they hold.
#
# usage: deploy/restore.sh FOLDER [--force]
set -euo pipefail

refuse() {
    echo "restore: $1" >&2
    exit 2
}

[ -n "${1:-}" ] || refuse "name what deploy/backup.sh wrote: make restore FROM=FOLDER"
from=$(realpath "$1") || exit 2
force=${2:-}
cd "$(dirname "$0")/.."

files=(artifacts.tar.gz home.tar.gz mlflow.dump sweeper.dump)
for file in "${files[@]}" SHA256SUMS; do
    [ -f "$from/$file" ] && [ ! -L "$from/$file" ] || refuse "$from has no file $file; it is no whole backup"
done
[ "$(awk '{print $2}' "$from/SHA256SUMS" | sort | xargs)" = "${files[*]}" ] || refuse "$from/SHA256SUMS lists other files"
(cd "$from" && sha256sum --check --quiet --strict SHA256SUMS) || refuse "$from is damaged; take another backup"
for archive in home artifacts; do
    if tar --list --absolute-names --gzip --file "$from/$archive.tar.gz" | grep --quiet --extended-regexp '^/|(^|/)\.\.(/|$)'; then
        refuse "$from/$archive.tar.gz has paths that lead out of its folder; it is not of deploy/backup.sh"
    fi
done

sql() {  # DATABASE QUERY
    docker compose exec -T postgres psql --no-psqlrc --quiet --tuples-only --no-align --username postgres --dbname "$1" --command "$2"
}
within() {  # SERVICE COMMAND…: runs in a container that can write its volume and nothing else
    local service=$1 command=$2
    shift 2
    docker compose run --rm --no-deps -T --entrypoint "$command" "$service" "$@"
}

docker compose up --detach --wait --no-recreate postgres
held=
for database in sweeper mlflow; do
    tables=$(sql "$database" "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
    [ "$tables" = 0 ] || held+=" the database $database ($tables tables),"
done
[ -z "$(within sweeper find /var/lib/sweeper -mindepth 1 -print -quit </dev/null)" ] || held+=" the volume home,"
[ -z "$(within mlflow find /var/lib/mlflow -mindepth 1 -print -quit </dev/null)" ] || held+=" the volume artifacts,"
if [ -n "$held" ] && [ "$force" != --force ]; then
    refuse "there are data already:${held%,}. To delete them and put the backup in their place: make restore FROM=$1 FORCE=1"
fi

docker compose down
docker compose up --detach --wait postgres
if [ -n "$held" ]; then
    docker compose exec -T postgres dropdb --username postgres --force --if-exists sweeper
    docker compose exec -T postgres dropdb --username postgres --force --if-exists mlflow
    docker compose exec -T postgres /docker-entrypoint-initdb.d/init.sh
    within sweeper find /var/lib/sweeper -mindepth 1 -delete </dev/null
    within mlflow find /var/lib/mlflow -mindepth 1 -delete </dev/null
fi
for database in sweeper mlflow; do
    docker compose exec -T postgres pg_restore --username postgres --exit-on-error --single-transaction \
        --dbname "$database" <"$from/$database.dump"
done
within sweeper tar --directory /var/lib/sweeper --extract --gzip --file - <"$from/home.tar.gz"
within mlflow tar --directory /var/lib/mlflow --extract --gzip --file - <"$from/artifacts.tar.gz"
docker compose run --rm --no-deps -T mlflow password </dev/null  # this host's, if secrets/ is another one
echo "restore: done; start the services with: docker compose up --wait"
