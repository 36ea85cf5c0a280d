"""Keeping the index up to date with the files: ingest, full sync, watcher, leader, verify, rebuild, crash recovery."""
