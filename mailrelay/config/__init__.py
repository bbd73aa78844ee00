"""File and environment into frozen settings; all problems at once, each with its place."""
