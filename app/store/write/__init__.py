"""Writing to the files and then to the index: open conversations, new conversations, deletion, and the backlog."""
