"""A run as a person sees it while it trains: its events, the terminal, what should alarm; the rest is in `log.txt`."""
