#!/bin/bash
# Makes the two base images where no registry is in reach: Debian 12 with its own Python, and with its own PostgreSQL.
# Not what docker-compose.yml pins, but enough to run it. Needs root, debootstrap and a Debian mirror.
#
# usage: deploy/test/stand-ins.sh PYTHON_IMAGE POSTGRES_IMAGE
set -euo pipefail

root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT

make_image() {  # NAME PACKAGES
    local name=$1
    debootstrap --variant=minbase --include="$2" bookworm "$root/$name" "${MIRROR:-http://deb.debian.org/debian}" \
        >"$root/log" || { tail "$root/log" "$root/$name/debootstrap/debootstrap.log" >&2; exit 1; }
    rm -rf "$root/$name"/var/cache/apt/archives/*.deb
}

there() {
    docker image inspect "$1" >/dev/null 2>&1
}

if ! there "$1"; then
    make_image python python3,python3-venv,ca-certificates
    tar -C "$root/python" -c . | docker import - "$1" >/dev/null
fi
if there "$2"; then exit; fi

make_image postgres postgresql,gosu
install -d "$root/postgres/docker-entrypoint-initdb.d"
# The main steps of the official image's entry point.
cat >"$root/postgres/usr/local/bin/entry" <<'ENTRY'
#!/bin/bash
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    install -d -o postgres -m 700 "$PGDATA"
    chown postgres /run/postgresql
    exec gosu postgres "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD_FILE:?}"
    eval "initdb --pgdata=\"\$PGDATA\" --username=postgres --pwfile=\"\$POSTGRES_PASSWORD_FILE\" ${POSTGRES_INITDB_ARGS:-}"
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=''" --wait start
    for file in /docker-entrypoint-initdb.d/*.sh; do "$file"; done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
fi
exec postgres -c listen_addresses='*'
ENTRY
chmod 755 "$root/postgres/usr/local/bin/entry"
bin=$(cd "$root/postgres" && echo usr/lib/postgresql/*/bin)
tar -C "$root/postgres" -c . | docker import --change "ENV PATH=/$bin:/usr/local/bin:/usr/sbin:/usr/bin:/bin" \
    --change 'ENV PGDATA=/var/lib/postgresql/data' --change 'ENTRYPOINT ["entry"]' \
    --change 'CMD ["postgres"]' --change 'VOLUME /var/lib/postgresql/data' - "$2" >/dev/null
