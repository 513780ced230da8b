"""The version of aiohttp whose private names aorch may use, for speed. They can change with any minor release."""

import aiohttp

TESTED = "3.14."
"""The versions of aiohttp with which the private names were tested."""
AVAILABLE = aiohttp.__version__.startswith(TESTED)
"""Whether the private names can be used. Otherwise, aorch uses the public API, which is slower."""
