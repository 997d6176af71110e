"""One file for each section of the results, with a function `report(machine)` that returns Markdown."""
