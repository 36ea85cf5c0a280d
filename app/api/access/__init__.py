"""Who may do what, and who did: the API keys and their files, trusted proxies, and the audit trail."""
