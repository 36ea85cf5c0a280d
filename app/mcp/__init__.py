"""The MCP server: tools and resources by which an agent reads the conversations. It only reads.

`tools` has the tools, `arguments` their parameters, `answers` the texts that they return. Everything that comes from
a conversation is in lines that begin with ">" (`quoting`). Only `server` knows the SDK, which is an extra (`extra`).
"""
