"""The priorities of queued tasks; lower numbers run first. Imports nothing, because `aorch --help` reads them."""

HIGHEST, DEFAULT, LOWEST = 1, 3, 5
