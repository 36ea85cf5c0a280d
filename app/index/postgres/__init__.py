"""The engine for PostgreSQL: connections, errors, migrations and words. Needs psycopg, which is an extra.

Only `app.index.opening` imports it, and only if CONVSTORE_INDEX_URL names a PostgreSQL server.
"""
