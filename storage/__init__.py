"""What is remembered: sweeps, trials, attempts, scores, the lease and the Optuna studies, in SQLite or Postgres.

`storage.database.open_database` gives a `Database`; `storage.repository.Repository` is the one interface to what is in
it, and speaks in the plain records of `storage.records`. Knows nothing of training. Imports nothing here, so that the
records cost no import of SQLAlchemy.
"""
