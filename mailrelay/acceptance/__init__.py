"""The one way in: envelope and content, policy, trace, one transaction."""
