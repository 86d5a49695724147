# What up.sh asks of the services, each as a function. Not run by itself.

skip() {
    echo "up.sh: skipped: $1"
    exit 77
}

step() {
    printf '%4d s  %s\n' "$SECONDS" "$1"
}

start() {  # SERVICE…: all of the profile unless named
    local said
    # A service that failed once and was started again by the engine has ended the waiting, not the start.
    for _ in 1 2 3; do
        said=$(docker compose up --detach --wait --wait-timeout 900 --no-build "$@" 2>&1) && return
    done
    echo "$said" >&2
    return 1
}

patiently() {  # SECONDS COMMAND…: until it succeeds
    local until=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$until" ] || { echo "in vain: $*" >&2; return 1; }
        sleep 2
    done
}

refused() {  # WORDS COMMAND…: fails, and says these words
    local words=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "was not refused: $*" >&2
        return 1
    fi
    grep --quiet --fixed-strings -- "$words" <<<"$said" || { echo "refused with other words: $said" >&2; return 1; }
}

bearer() {  # ROLE
    printf 'Authorization: Bearer %s' "$(sed -n "s/^$1://p" "$SECRETS/sweeper_tokens")"
}

api() {  # METHOD PATH [BODY]
    curl --silent --show-error --fail-with-body --max-time 60 --request "$1" --header "$(bearer full)" \
        ${3:+--json "$3"} "http://127.0.0.1:$API_PORT/api/v1/$2"
}

status_of() {  # URL [curl options]
    curl --silent --output /dev/null --max-time 60 --write-out '%{http_code}' "$@"
}

trials=64

study() {
    python3 - "$trials" <<'P'
import json, sys
gammas = [round(0.015 * n, 3) for n in range(1, int(sys.argv[1]))]
print(json.dumps({"toml": f'''
name = "up-test"
[[datasets]]
name = "nuclei"
options = {{ size = [32, 32] }}
[[losses]]
name = "ce"
[[losses]]
name = "unified_focal_asym"
gamma = {gammas}
[model]
base_filters = 4
depth = 2
[training]
epochs = 8
'''}))
P
}

state() {
    api GET sweeps/up-test | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'
}

is() {
    [ "$(state)" = "$1" ]
}

finished() {
    api GET sweeps/up-test 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["counts"]["finished"])' 2>/dev/null || echo 0
}

given_up() {  # how often a coordinator of the sweep has left it to others to send MLflow the rest
    api GET sweeps/up-test/log | tr --squeeze-repeats '\n ' ' ' | { grep --only-matching "sends later what MLflow lacks" || true; } |
        wc --lines
}

given_up_more_than() {
    [ "$(given_up)" -gt "$1" ]
}

answers() {
    api GET sweeps/up-test >/dev/null
}

more_than() {
    [ "$(finished)" -gt "$1" ]
}

results() {  # what does not depend on when it is asked
    api GET sweeps/up-test | python3 -c '
import json, sys
for one in (trials := json.load(sys.stdin)["trials"]):
    one.pop("train_seconds", None)
json.dump(sorted(trials, key=lambda one: one["hash"]), sys.stdout, indent=1, sort_keys=True)'
}

complete() {  # FILE: takes the results; fails where a trial lacks its score or its MLflow run, or MLflow a finished run
    results >"$1"
    python3 - "$1" "$trials" <<'P' && [ "$(mlflow_runs)" = $((trials + 1)) ]  # the sweep's own, too
import json, sys
trials = json.load(open(sys.argv[1]))
whole = [t for t in trials if t["state"] == "finished" and 0 <= t["test_dsc"] <= 1 and t["mlflow_run"]]
sys.exit(not len(trials) == len(whole) == int(sys.argv[2]))
P
}

mlflow_runs() {  # finished ones of the experiment
    local url=http://127.0.0.1:$MLFLOW_PORT/api/2.0/mlflow experiment
    call() { curl --silent --show-error --fail-with-body --max-time 60 --user "sweeper:$(<"$SECRETS/mlflow_password")" "$@"; }
    experiment=$(call "$url/experiments/get-by-name?experiment_name=sweeper" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["experiment"]["experiment_id"])')
    call --json "{\"experiment_ids\": [\"$experiment\"], \"filter\": \"status = 'FINISHED'\", \"max_results\": 1000}" "$url/runs/search" |
        python3 -c 'import json, sys; print(len(json.load(sys.stdin).get("runs", [])))'
}

sql() {  # DATABASE QUERY
    docker compose exec -T postgres psql --no-psqlrc --quiet --tuples-only --no-align --username postgres \
        --dbname "$1" --command "$2" </dev/null
}

as_reader() {  # QUERY
    docker compose exec -T --env PGPASSWORD="$(<"$SECRETS/reader_db_password")" postgres psql --no-psqlrc --quiet \
        --tuples-only --no-align --host postgres --username reader --dbname sweeper --command "$1" </dev/null
}

in_image() {  # PROGRAM
    docker compose run --rm --no-deps -T --entrypoint bash sweeper -c \
        'PGPASSWORD=$(</run/secrets/database_password) exec python3 -c "$1"' - "$1" </dev/null
}

published() {
    docker compose ps --quiet | xargs docker inspect | python3 -c '
import json, sys
ports = {"%s:%s" % (p["HostIp"], p["HostPort"]) for one in json.load(sys.stdin)
         for bound in one["NetworkSettings"]["Ports"].values() for p in bound or ()}
print(*sorted(ports))'
}

no_secret_leaks() {  # neither into what the services have said since they were made, nor into their configuration
    local secret word
    docker compose logs >"$work/logs" 2>&1
    docker compose ps --all --quiet | xargs docker inspect >"$work/configuration"
    [ -s "$work/logs" ]
    for secret in "$SECRETS"/*; do
        while read -r word; do
            if grep --fixed-strings --max-count 1 -- "${word##*:}" "$work/logs" "$work/configuration"; then
                echo "there stands the secret $(basename "$secret")" >&2
                return 1
            fi
        done <"$secret"
    done
}
