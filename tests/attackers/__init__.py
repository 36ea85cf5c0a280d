"""What an attacker, or a careless program, might send or write, and what comes of it."""
