"""The `convstore` command, a module for each group of subcommands. Typer and rich are used here and nowhere else."""
