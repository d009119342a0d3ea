from lft_ray.serve.cluster.replicas import one_line


def test_the_reason_of_a_replica_that_cannot_start_is_one_line_without_colours():
    traceback = "\n".join(f'  File "replica.py", line {n}, in initialize' for n in range(40))
    message = f"A replica failed:\n\x1b[36mray::Replica\x1b[39m\n{traceback}\nBundleError: there is no bundle"
    line = one_line(message)
    assert line.startswith("A replica failed: ray::Replica File")
    assert line.endswith("BundleError: there is no bundle")
    assert len(line) < 500
    assert "\x1b" not in line
    assert one_line("waits\n for cores") == "waits for cores"
