"""One module a server: how it is prepared, started, probed and furnished. None knows another but by name."""
