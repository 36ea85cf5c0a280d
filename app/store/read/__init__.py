"""Reading: lists, one conversation, its events, and subscriptions to what changes."""
