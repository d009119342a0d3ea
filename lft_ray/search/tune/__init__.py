"""Ray Tune: the only code that knows its searcher, scheduler and tuner."""
