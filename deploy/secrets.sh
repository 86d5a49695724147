#!/bin/sh
# Writes the passwords and tokens of docker-compose.yml, each into a file of its own in secrets/, and into .env where
# they are. What is there already is kept, so that running it again adds only what is missing.
#
# usage: deploy/secrets.sh [FOLDER]     the folder that gets .env and secrets/; the current one
set -eu
umask 077

cd "${1:-.}"
mkdir -p secrets
chmod 700 secrets
touch .env
chmod 600 .env

setting() {
    if ! grep -q "^$1=" .env; then
        printf '%s=%s\n' "$1" "$2" >>.env
        printf 'added %s to .env\n' "$1"
    fi
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# The folder keeps other users of this host out. The files are mounted one by one into containers, whose user is none of
# this host's and has to read them.
secret() {
    if [ ! -s "secrets/$1" ]; then
        printf '%s\n' "$2" >"secrets/$1.new"
        chmod 644 "secrets/$1.new"
        mv "secrets/$1.new" "secrets/$1"
        printf 'added secrets/%s\n' "$1"
    fi
}

setting COMPOSE_PROFILES cpu
setting SECRETS ./secrets
for name in postgres_password sweeper_db_password mlflow_db_password reader_db_password ray_auth_token \
    mlflow_password mlflow_csrf_key; do
    secret "$name" "$(random)"
done
secret sweeper_tokens "full:$(random)
read:$(random)"
