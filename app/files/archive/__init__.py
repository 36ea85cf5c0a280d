"""Export and import of conversations as zip, JSON Lines or Markdown."""
