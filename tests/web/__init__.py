"""The page, from its functions to a real browser."""
