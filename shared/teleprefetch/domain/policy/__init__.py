"""Who may read what: the values that policies speak of, free of any policy language."""
