"""What CPPO saves, measured: forced lengths, rewards by chance, models of random weights; no download."""
