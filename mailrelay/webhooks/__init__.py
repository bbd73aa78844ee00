"""Events to the application: what is called, with what, when and how."""
