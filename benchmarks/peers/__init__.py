"""The same calls to other voice servers, with the same models behind them."""
