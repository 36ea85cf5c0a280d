"""Writing first to the files and then to the index: open conversations, new conversations, deletion, the backlog."""
