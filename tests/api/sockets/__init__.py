"""Tests of app.api.sockets."""
