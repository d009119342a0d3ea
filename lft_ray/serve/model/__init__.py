"""An opened bundle that predicts: single model or cascade."""
