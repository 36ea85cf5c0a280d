"""Keeping the index in step with the files: ingest, the full sync, the watcher, verify, rebuild and repair."""
