"""Mail between servers over HTTPS."""
