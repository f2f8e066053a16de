"""One request, from parsed to answered."""
