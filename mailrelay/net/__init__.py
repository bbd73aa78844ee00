"""The outside, safely: names, TLS, certificates, threads."""
