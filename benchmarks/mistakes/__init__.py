"""The corpus of mistakes, given to lumbre and to others: who says anything, and who names the cause."""
