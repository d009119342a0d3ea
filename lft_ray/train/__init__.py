"""Run one trial: a configuration in, a result out. Free of Ray except for `distributed`."""
