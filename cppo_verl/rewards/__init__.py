"""Rule-based rewards (SPEC section 5): format 0/1 plus accuracy up to 2. Imports neither verl nor Ray."""
