# SPDX-License-Identifier: Apache-2.0
"""`ladle purge` and `ladle cache`: what they take, say and refuse."""

import json

import pytest


@pytest.fixture
def cached(ladle, origin):
    """A caching proxy with two workers."""
    def make(settings=None):
        return ladle(origin(), {"cache": {"memory": "16MiB"}, "server": {"workers": 2}, "site": {"*": {"cache": True}}, **(settings or {})})
    return make


def listed(proxy, *arguments):
    result = proxy.command("cache", "--json", *arguments)
    return json.loads(result.stdout)["objects"]


def test_what_is_to_be_purged_must_be_said(cached):
    """Without a URL, --prefix, --tag or --all it is wrong usage; a text that is no URL is refused, and nothing is purged."""
    proxy = cached()
    result = proxy.command("purge")
    assert (result.returncode, result.stderr) == (2, "ladle: purge what? A URL, --prefix, --tag or --all\n")
    for arguments in (["/path"], ["--prefix", "example.com"]):
        result = proxy.command("purge", "http://site.test/", *arguments)
        assert result.returncode == 1 and 'expected a URL such as "http://example.com/path"' in result.stderr
    result = proxy.command("purge", "http://site.test/a", "http://site.test/b", "--prefix", "http://x.test", "--tag", "t", "--soft")
    assert (result.returncode, result.stdout, result.stderr) == (0, "ladle: softly purged 2 URLs, 1 prefix, 1 tag\n", "")


def test_without_a_cache(cached):
    """Where there is no cache both commands say so."""
    proxy = cached({"cache": {"memory": "0B"}, "site": {"*": {"cache": False}}})
    for line in (["purge", "--all"], ["cache"]):
        result = proxy.command(*line)
        assert result.returncode == 1 and "there is no cache" in result.stderr


def test_an_empty_cache(cached):
    """An empty list is one, and a URL that is not there is a failure."""
    proxy = cached()
    result = proxy.command("cache")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["AGE", "LEFT", "HITS", "SIZE", "STATUS", "URL", "0", "responses"]
    assert listed(proxy) == []
    result = proxy.command("cache", "http://site.test/x")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "ladle: http://site.test/x is not in the cache\n")


def test_many_urls_are_purged_in_one_command(cached):
    """More than one request of the control socket holds."""
    proxy = cached()
    urls = [f"http://site.test/{'x' * 100}/{number}" for number in range(900)]
    result = proxy.command("purge", *urls)
    assert result.returncode == 0 and result.stdout.count("purged") > 1, result.stderr
