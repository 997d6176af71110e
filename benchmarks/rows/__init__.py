"""A file a section of results.md: each has a `report(machine)` that measures and answers Markdown."""
