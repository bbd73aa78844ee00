"""The certificates that listeners show: read from files, ordered by ACME, chosen by name."""
