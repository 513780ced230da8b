"""Many tasks: lines in, one result a line out."""
