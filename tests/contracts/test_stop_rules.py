"""Every stop rule keeps the contract of `lft_ray.search.stopping.base.StopRule`."""

import pytest

from lft_ray.config.base import SCHEDULERS
from lft_ray.plugins import resolve
from lft_ray.testing.curves import standing, standings
from lft_ray.testing.stop_rules import StoppingContract, StopRuleContract


class TestFifo(StopRuleContract):
    @pytest.fixture
    def make_rule(self):
        return resolve("fifo", SCHEDULERS, where="search.scheduler")


class TestBuiltInRules(StoppingContract):
    @pytest.fixture(params=sorted(set(SCHEDULERS) - {"fifo"}))
    def make_rule(self, request):
        return resolve(request.param, SCHEDULERS, where="search.scheduler")

    def test_probes_are_never_stopped(self, make_rule, peers):
        assert not any(make_rule(0, probe_share=1.0)(s) for s in standings(peers))
        poor = [standing([0.1], peers, number=number) for number in range(500, 900)]
        stopped = [bool(make_rule(0, probe_share=0.1)(s)) for s in poor]
        assert stopped == [bool(make_rule(0, probe_share=0.1)(s)) for s in poor]
        assert 0.84 < sum(stopped) / len(stopped) < 0.96
        assert stopped != [bool(make_rule(1, probe_share=0.1)(s)) for s in poor]
