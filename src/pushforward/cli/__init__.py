"""The command line: it parses, calls `pushforward.runs`, and prints."""
