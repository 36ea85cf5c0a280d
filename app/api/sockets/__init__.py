"""Sockets of conversations: frames, authentication, and clients that are behind."""
