"""How the networks learn: step 6."""
