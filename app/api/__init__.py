"""The REST API, compatible with clients of OpenHands agent-server 1.58. `app.create_app` creates it.

HTTP only: routes parse parameters, call `app.store`, and send bytes. FastAPI is used only here.
"""
