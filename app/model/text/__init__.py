"""Words: how texts are cut for search, how well they fit a question, and the snippets that show it."""
