"""Text for search: words, ranking and snippets."""
