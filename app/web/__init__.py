"""The page: browse, search, read and keep conversations in a browser.

The shell holds no data. Its modules fetch fragments of HTML with the key, rendered here from templates.
"""
