"""The tests, by how much of the real world they use."""
