"""The real agent-canvas against convstore. `make clients` gets it."""
