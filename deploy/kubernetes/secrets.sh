#!/bin/sh
# The passwords and tokens that `make secrets` wrote, as Secrets of Kubernetes, onto standard output:
#
#   deploy/kubernetes/secrets.sh [FOLDER] | kubectl apply --filename -      FOLDER is secrets/ unless named
set -eu

cd "${1:-secrets}" 2>/dev/null || { echo "no folder ${1:-secrets}: run make secrets" >&2; exit 2; }

# Without its last newline, which would be one of the token.
encoded() {
    printf '%s' "$(cat "$1")" | base64 | tr -d '\n'
}

header() {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: sweeper}\ndata:\n' "$1"
}

header sweeper
for name in postgres_password sweeper_db_password mlflow_db_password reader_db_password ray_auth_token \
    mlflow_password mlflow_csrf_key sweeper_tokens; do
    [ -s "$name" ] || { echo "no secret $name: run make secrets" >&2; exit 2; }
    printf '  %s: %s\n' "$name" "$(encoded "$name")"
done
echo ---
header ray-token
printf '  auth_token: %s\n' "$(encoded ray_auth_token)"
