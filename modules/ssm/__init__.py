"""State-space models: EMA, S4D and Mamba-2, and the linear recurrences behind them."""
