"""The server's HTTP side: one blueprint per noun (interfaces.md)."""
