"""What runs inside pods: standard library only, one file a purpose, imported by nothing else of this package."""
