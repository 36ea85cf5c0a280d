"""The SQLite engine: connections, locks, migrations, integrity, backups and the full-text index."""
