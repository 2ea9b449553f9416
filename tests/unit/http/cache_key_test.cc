// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_key.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

std::string key(std::string_view url, const std::vector<std::string>& words = {}, std::string_view lines = "")
{
    const auto rules = parse_key_rules(words);
    REQUIRE(rules.has_value());
    KeyTarget target;
    REQUIRE(split_url(url, target));
    const FieldText request(lines);
    std::string out;
    append_key(target, &request.fields, *rules, out);
    return out;
}

} // namespace

TEST_CASE("spellings of one URL share a key (RFC 3986 §6.2.2, §6.2.3)")
{
    CHECK(key("HTTP://Example.COM:80/a/b?c=d") == "http://example.com/a/b?c=d");
    CHECK(key("https://example.com:443/") == "https://example.com/");
    CHECK(key("http://example.com:/") == "http://example.com/");
    CHECK(key("http://example.com:443/") == "http://example.com:443/");
    CHECK(key("https://example.com:80/") == "https://example.com:80/");
    CHECK(key("http://[2001:DB8::1]:80/") == "http://[2001:db8::1]/");
    CHECK(key("http://[::1]:8080/") == "http://[::1]:8080/");
    CHECK(key("http://a") == "http://a/");
    CHECK(key("http://a?b") == "http://a/?b");
    CHECK(key("http://a/%41%7e%2f%c3%bc?%42=%3d") == "http://a/A~%2F%C3%BC?B=%3D");
    CHECK(key("http://a/?%zz%4") == "http://a/?%zz%4");
    CHECK(key("http://a/?%%341") != key("http://a/?%4%31")); // neither decodes into the other's "%41"
    CHECK(key("http://a/b#c") == "http://a/b");
}

TEST_CASE("what may differ in meaning stays different")
{
    CHECK(key("http://a/b") != key("http://a/B"));
    CHECK(key("http://a/b") != key("http://a/b/"));
    CHECK(key("http://a/b") != key("http://a/b?"));
    CHECK(key("http://a/x/../b") != key("http://a/b"));
    CHECK(key("http://a//b") != key("http://a/b"));
    CHECK(key("http://a/?b=1&c=2") != key("http://a/?c=2&b=1"));
    CHECK(key("http://a/%2F") != key("http://a//"));
    CHECK(key("http://a/") != key("https://a/"));
}

TEST_CASE("parts of the query")
{
    const char* url = "http://a/b?utm_source=x&id=1&fbclid=2&page=3&&utm%5Fx=4&flag";
    CHECK(key(url, {"host", "path"}) == "//a/b");
    CHECK(key(url, {"scheme", "host", "path", "query:!utm_*,fbclid"}) == "http://a/b?id=1&page=3&flag");
    CHECK(key(url, {"path", "query:page,id"}) == "/b?id=1&page=3");
    CHECK(key(url, {"path", "query:nothing"}) == "/b");
    CHECK(key("http://a/?c=2&b=1&a", {"path", "query:sorted"}) == "/?a&b=1&c=2");
    CHECK(key("http://a/?c=2&b=1&a", {"path", "query:sorted", "query:!a"}) == "/?b=1&c=2");
    CHECK(key("http://a/?c=2&b=1", {"path", "query"}) == "/?c=2&b=1");
}

TEST_CASE("fields and cookies in the key")
{
    const char* lines = "Accept: a\nAccept: b\nX-Y: z\nCookie: x=1; lang=en\nCookie: lang=de";
    CHECK(key("http://a/", {"path", "header:ACCEPT", "header:x-y", "header:none"}, lines) == "/\naccept:a,b\nx-y:z\nnone");
    CHECK(key("http://a/", {"path", "cookie:lang", "cookie:Lang"}, lines) == "/\ncookie.lang:en\ncookie.Lang");
    std::string without_request;
    KeyTarget target;
    REQUIRE(split_url("http://a/", target));
    append_key(target, nullptr, *parse_key_rules({"path", "header:accept"}), without_request);
    CHECK(without_request == "/");
}

TEST_CASE("words that are no part of a key")
{
    for (const char* word : {"", "hosts", "host:x", "query:", "query:!", "header:", "header:a b", "cookie", "header"}) {
        CAPTURE(word);
        CHECK_FALSE(parse_key_rules({word}).has_value());
    }
    CHECK_FALSE(parse_key_rules({"query:a", "query:b"}).has_value());
    CHECK(parse_key_rules({"host", "nonsense"}).error().find("nonsense") != std::string::npos);
}

TEST_CASE("what is no URL")
{
    KeyTarget target;
    for (const char* url :
         {"", "a", "/a", "//a/b", "ftp://a/", "http:/a", "http:///a", "http://u@a/", "http://a:99999/", "http://a b/"}) {
        CAPTURE(url);
        CHECK_FALSE(split_url(url, target));
    }
}

TEST_CASE("patterns")
{
    CHECK(fits_pattern("utm_*", "utm_source"));
    CHECK(fits_pattern("*", ""));
    CHECK(fits_pattern("a*b*c", "aXbYbZc"));
    CHECK(fits_pattern("**a", "bca"));
    CHECK_FALSE(fits_pattern("utm_*", "utm"));
    CHECK_FALSE(fits_pattern("a*b", "abc"));
    CHECK_FALSE(fits_pattern("", "a"));
    CHECK_FALSE(fits_pattern("A", "a"));
}
