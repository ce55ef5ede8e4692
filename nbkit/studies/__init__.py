"""Many runs, and where they are kept."""
