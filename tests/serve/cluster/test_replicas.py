from lft_ray.serve.cluster.replicas import one_line, run_application


def test_the_reason_of_a_replica_that_cannot_start_is_one_line_without_colours():
    traceback = "\n".join(f'  File "replica.py", line {n}, in initialize' for n in range(40))
    message = f"A replica failed:\n\x1b[36mray::Replica\x1b[39m\n{traceback}\nBundleError: there is no bundle"
    line = one_line(message)
    assert line.startswith("A replica failed: ray::Replica File")
    assert line.endswith("BundleError: there is no bundle")
    assert len(line) < 500
    assert "\x1b" not in line
    assert one_line("waits\n for cores") == "waits for cores"


def test_proxies_that_take_longer_than_serve_waits_do_not_end_a_start(monkeypatch):
    from ray import serve

    def late(*_, **__):
        raise TimeoutError("Proxies not available after 60s.")

    asked = []
    target = serve.RunTarget(target=None, name="app", route_prefix="/")
    monkeypatch.setattr(serve, "run_many", late)
    monkeypatch.setattr(serve, "get_app_handle", lambda name: asked.append(name) or "handle")
    assert run_application(target) == "handle"
    monkeypatch.setattr(serve, "run_many", lambda targets, **_: [f"handle of {targets[0].name}"])
    assert run_application(target) == "handle of app"
    assert asked == ["app"]
