"""Models of the requests to create a conversation that agent-server 1.58.2 accepts, as in its OpenAPI document.

A model accepts no value that agent-server refuses. It keeps unknown fields where agent-server ignores them. Models are
slow to import, so they are imported only when a conversation is created.
"""
