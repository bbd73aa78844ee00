"""Who a message is from, by the standards: SPF; what others say of it, and what that is worth."""
