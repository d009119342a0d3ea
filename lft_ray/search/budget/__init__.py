"""Budget control of a study: workload and price of a trial, and admission against remaining dollars and minutes."""
