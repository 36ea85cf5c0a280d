"""`make fuzz`: requests that schemathesis makes up from the OpenAPI document, against a running server."""
