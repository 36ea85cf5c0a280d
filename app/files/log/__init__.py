"""The log of one conversation: its event files, its HEAD and its branches."""
