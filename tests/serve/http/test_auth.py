from lft_ray.serve.http.auth import ApiKeys, hash_keys


def test_api_keys_store_only_hashes():
    hashes = hash_keys(" secret-one , ,two,")
    assert len(hashes) == 2
    assert "secret-one" not in repr(vars(ApiKeys(hashes)))


def test_a_key_lets_in_and_another_does_not():
    keys = ApiKeys(hash_keys("one,two"))
    assert keys.allow("Bearer one")
    assert keys.allow("bearer  two ")
    for wrong in ("", "one", "Basic one", "Bearer", "Bearer one,two", "Bearer \udcff", "Bearer Ein\u00e9"):
        assert not keys.allow(wrong)


def test_without_keys_every_request_is_allowed():
    assert ApiKeys().allow("")
    assert not ApiKeys()
