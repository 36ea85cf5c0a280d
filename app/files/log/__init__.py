"""A conversation's log: event files, HEAD and branches."""
