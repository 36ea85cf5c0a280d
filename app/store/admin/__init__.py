"""What administrators ask for: doctor, disk usage, retention, import and export."""
