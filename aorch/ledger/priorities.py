"""The priorities of queued tasks, of which a lower number goes first. Imports nothing: `aorch --help` reads them."""

HIGHEST, DEFAULT, LOWEST = 1, 3, 5
