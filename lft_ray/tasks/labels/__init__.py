"""What tasks with labels share: the verbs of the data stage, and the checks of labels behind them."""
