#!/bin/bash
# Backs up what the services keep: both databases, and the volumes `home` and `artifacts`. They may be running; a sweep
# that runs is then saved as it stands, and is gone on with after a restore.
#
# usage: deploy/backup.sh [FOLDER]     a new folder; backups/ and the time where none is named
set -euo pipefail
umask 077

to=$(realpath --canonicalize-missing "${1:-backups/$(date +%Y-%m-%d-%H%M%S)}")
cd "$(dirname "$0")/.."
if [ -e "$to" ]; then
    echo "backup: $to exists; name a new folder: make backup TO=FOLDER" >&2
    exit 2
fi
part=$to.partial
mkdir -p "$(dirname "$to")"
mkdir "$part"
trap 'rm -rf "$part"' EXIT

# The databases come first: every file that they speak of is there by then.
docker compose up --detach --wait --no-recreate postgres
for database in sweeper mlflow; do
    docker compose exec -T postgres pg_dump --username postgres --format custom "$database" >"$part/$database.dump"
    docker compose exec -T postgres pg_restore --list <"$part/$database.dump" >/dev/null
done

archive() {  # SERVICE FOLDER FILE
    local status=0
    docker compose run --rm --no-deps -T --entrypoint tar "$1" --directory "$2" --create --file - \
        --warning=no-file-changed . | gzip --fast >"$part/$3" || status=${PIPESTATUS[0]}
    # 1: a file changed while it was read, as those of running trials do
    [ "$status" -le 1 ] || exit "$status"
    tar --list --gzip --file "$part/$3" >/dev/null
}
archive sweeper /var/lib/sweeper home.tar.gz
archive mlflow /var/lib/mlflow artifacts.tar.gz

(cd "$part" && sha256sum -- *.dump *.tar.gz >SHA256SUMS)
mv "$part" "$to"
echo "backup: $to, $(du --summarize --human-readable "$to" | cut -f 1). It holds no password; keep secrets/ elsewhere."
