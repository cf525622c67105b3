"""One module per outside party; each translates foreign errors into ours at its boundary."""
