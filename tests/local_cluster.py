"""A Ray cluster of three nodes on this machine, as a process: ``python -m tests.local_cluster DASHBOARD_PORT``.

A head without cores, two workers of one core with the serving resource. Prints the address, then lives until its
standard input is closed. Its own process, because Ray reads tokens once and keeps them: a cluster with another token
would spoil every later one of the test process.
"""

import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 100 * 1024 * 1024


def main(dashboard_port: int) -> None:
    head = {
        "num_cpus": 0,
        "include_dashboard": True,
        "dashboard_port": dashboard_port,
        "object_store_memory": STORE_BYTES,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, resources={"lft_serve": 1})
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
