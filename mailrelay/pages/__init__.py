"""Pages for people: the viewer, what an account sees and changes, what the administrator does."""
