"""The REST API, compatible with the clients of OpenHands agent-server 1.58. `app.create_app` makes it.

HTTP only: routes parse parameters, call `app.store`, and send bytes. FastAPI is used here and nowhere else.
"""
