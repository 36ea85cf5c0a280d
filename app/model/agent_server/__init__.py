"""What agent-server 1.58.2 accepts in a request to create a conversation, as models of its OpenAPI document's facts.

A model accepts what agent-server accepts, or less; it keeps unknown fields where agent-server ignores them. Models are
slow to import, so only the code that creates imports them.
"""
