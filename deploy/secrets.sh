#!/bin/sh
# Writes the passwords and tokens of docker-compose.yml into .env, readable by its owner alone. What stands there
# already is kept, so that running it again adds only what is missing.
set -eu
umask 077

file=${1:-.env}
touch "$file"
chmod 600 "$file"

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

add() {
    if ! grep -q "^$1=" "$file"; then
        printf '%s=%s\n' "$1" "$2" >>"$file"
        printf 'added %s\n' "$1"
    fi
}

add COMPOSE_PROFILES cpu
for name in POSTGRES_PASSWORD SWEEPER_DB_PASSWORD MLFLOW_DB_PASSWORD READER_DB_PASSWORD RAY_AUTH_TOKEN; do
    add "$name" "$(random)"
done
