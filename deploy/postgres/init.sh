#!/bin/sh
# Run once by the Postgres image, on an empty volume: one role and one database each for Sweeper and MLflow, and a role
# that only reads, for dashboards. Passwords come from the environment, through psql's variables, never through text.
set -eu

psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 \
    --set sweeper="$SWEEPER_DB_PASSWORD" --set mlflow="$MLFLOW_DB_PASSWORD" --set reader="$READER_DB_PASSWORD" <<'SQL'
CREATE ROLE sweeper LOGIN PASSWORD :'sweeper';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE reader LOGIN PASSWORD :'reader';
CREATE DATABASE sweeper OWNER sweeper;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE sweeper, mlflow FROM PUBLIC;
GRANT CONNECT ON DATABASE sweeper TO reader;
\connect sweeper
GRANT USAGE ON SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE sweeper IN SCHEMA public GRANT SELECT ON TABLES TO reader;
SQL
