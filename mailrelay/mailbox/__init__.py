"""Local mailboxes: what is in them, and delivery into them."""
