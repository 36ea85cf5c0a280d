"""Administration: doctor, disk usage, retention, import and export."""
