"""Who may do what: the API keys, and the files that hold them."""
