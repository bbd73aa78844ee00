"""SMTP out: hosts, connections, transactions, attempts."""
