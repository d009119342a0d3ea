"""Ray Tune integration: the only code that uses Tune's searcher, scheduler and tuner."""
