"""The command line: parse, call, print. torch is imported only by the commands that need it."""
