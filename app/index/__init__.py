"""The SQLite index and the only SQL. Disposable: everything in it comes from the files.

Imports `app.model` and `app.errors` alone. `engine` gives connections, `schema` the migrations; the other modules are
the statements, a subject each. The hot reads are built once with SQLAlchemy Core and run by the driver.
"""
