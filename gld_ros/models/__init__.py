"""The networks: one class a role, every published size an instance of it."""
