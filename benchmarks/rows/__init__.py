"""One file for each section of results.md, with a function `report(machine)` that returns Markdown."""
