"""The command line. A command has one module, which is imported only when that command is used."""
