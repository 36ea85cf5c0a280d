"""Tasks of an administrator: doctor, disk usage, retention, import and export."""
