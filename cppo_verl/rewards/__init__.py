"""Rule-based rewards: format 0/1 plus accuracy up to 2. Imports neither verl nor Ray."""
