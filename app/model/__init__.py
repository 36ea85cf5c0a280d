"""Pure code: it takes bytes and values and returns bytes and values. It does no I/O and imports `app.errors` alone."""
