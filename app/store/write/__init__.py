"""Writing: open conversations and their leases, new conversations, changes and deletion, with the index in step."""
