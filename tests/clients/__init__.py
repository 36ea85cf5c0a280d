"""The real agent-canvas and TypeScript client against convstore. `make clients` gets them from npm."""
