"""What is asked: heads, and sums of losses."""
