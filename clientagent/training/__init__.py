"""What a bank makes of a round: local training under a strategy, and the vectors that leave."""
