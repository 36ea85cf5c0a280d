"""The index that lists, counts and searches conversations, and all SQL. Its contents come only from the files.

It imports neither `app.files` nor `app.store`. Each module has the statements of one subject. They are written with
SQLAlchemy Core, compiled once, and run by the driver. `engine` and `connections` are the interface to a database,
`dialect` has the expressions that databases write differently, and `opening` chooses the database by the settings.
`sqlite` is the implementation for SQLite.
"""
