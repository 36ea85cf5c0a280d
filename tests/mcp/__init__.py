"""The MCP server, asked by the real client of its SDK."""
