"""What only SQLite has: connections, locks, migrations, integrity, backups and the full-text index."""
