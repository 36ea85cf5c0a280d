"""Conversation directories, the truth. Synchronous; reading opens files read-only, without following links.

Imports `app.model` and `app.errors` alone. Call it from a worker thread, never on an event loop.
"""
