"""Reading and writing conversation directories. Files are opened read-only to read, and links are never followed.

All functions block, so call them from a worker thread, not from an event loop. Imports `app.model` and `app.errors`.
"""
