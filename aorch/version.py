"""The version of aorch."""

VERSION = "0.1.0"
