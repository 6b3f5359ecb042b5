"""The command line, run in this process: `adaptkit.cli.main.main(argv)` returns the exit code."""
