"""Pure code: bytes and values in, values out. No I/O, no framework; imports `app.errors` alone."""
