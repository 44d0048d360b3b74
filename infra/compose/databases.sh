#!/bin/sh
# Run once by the postgres image, on an empty volume: one database for each who keeps state.
set -eu
for name in prefect mlflow mlflow_auth; do
  createdb --username "$POSTGRES_USER" "$name"
done
