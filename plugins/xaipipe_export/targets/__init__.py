"""The targets of `xaipipe export`, a file each."""
