"""Reading: lists, one conversation, its events, and followers of what changes."""
