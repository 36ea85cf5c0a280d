"""The page: browse, search, read and keep conversations in a browser.

The shell contains no data. Its JavaScript modules use the API key to fetch fragments of HTML, which are rendered here
from templates.
"""
