"""The index that lists, counts and searches conversations, and the only SQL. Everything in it comes from the files.

It imports neither `app.files` nor `app.store`. Each module here holds the statements of one subject, written with
SQLAlchemy Core, compiled once and run by the driver. `connections` and `dialect` are what they ask of a database;
`sqlite` holds what only SQLite has.
"""
