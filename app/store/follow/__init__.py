"""Keeping the index in step with the files: ingest, full sync, watcher, leader, verify, rebuild, crash recovery."""
