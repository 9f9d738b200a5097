"""What the README's numbers come from; each benchmark prints its own method."""
