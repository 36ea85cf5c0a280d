"""The use cases, which need both files and index. Callers start at `store.ConversationStore`.

The errors of a use case are documented once, at the method of `ConversationStore`, `StoreReader` or
`ConversationWriter`.

This package imports `app.index` and `app.files`. It knows no HTTP and no terminal. File calls run in worker threads.
"""
