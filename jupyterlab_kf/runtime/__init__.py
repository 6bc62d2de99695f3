"""What runs inside pods, imported by nothing else of this package; `launch` and `install` need only Python."""
