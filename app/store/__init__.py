"""Where files and index meet: the use cases. `store.ConversationStore` is the way in.

What a use case raises is stated once, at the method of `ConversationStore` or `StoreReader`.

Imports `app.index` and `app.files`; knows no HTTP and no terminal. File calls run in worker threads.
"""
