"""QuPath on this machine, from outside: where it is installed. Imports none of it."""
