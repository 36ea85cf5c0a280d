"""Reading: lists, conversations, events, and followers of changes."""
