"""The `convstore` command, one module for each group of subcommands. Only this package uses Typer and rich."""
