#!/bin/sh
# One role and one database each for Sweeper and MLflow, and a role that only reads, for the board. The Postgres image
# runs it on an empty volume; run again, it makes what is missing and gives the roles the passwords of the secret files.
# Passwords go through psql's variables, never through text or a command line that others see.
set -eu

PGOPTIONS='--client-min-messages=warning' psql --quiet --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set ON_ERROR_STOP=1 <<'SQL'
\set sweeper `cat /run/secrets/sweeper_db_password`
\set mlflow `cat /run/secrets/mlflow_db_password`
\set reader `cat /run/secrets/reader_db_password`
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['sweeper', 'mlflow', 'reader']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE sweeper PASSWORD :'sweeper';
ALTER ROLE mlflow PASSWORD :'mlflow';
ALTER ROLE reader PASSWORD :'reader' NOSUPERUSER NOCREATEDB NOCREATEROLE;
SELECT format('CREATE DATABASE %I OWNER %I', name, name) FROM unnest(ARRAY['sweeper', 'mlflow']) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE sweeper, mlflow FROM PUBLIC;
GRANT CONNECT ON DATABASE sweeper TO reader;
\connect sweeper
GRANT USAGE ON SCHEMA public TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE sweeper IN SCHEMA public GRANT SELECT ON TABLES TO reader;
SQL
