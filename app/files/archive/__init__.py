"""Exports and imports: conversations as zip, JSON Lines or Markdown, and what may be read back from one."""
