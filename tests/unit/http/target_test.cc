// SPDX-License-Identifier: Apache-2.0
#include "common/http/target.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

struct Parsed {
    std::string bytes;
    RequestHead head;
    explicit Parsed(std::string text) : bytes(std::move(text)) { REQUIRE(head.parse(bytes, {}) == Progress::complete); }
};

std::string normalised(std::string_view path)
{
    std::string out;
    normalise_path(path, out);
    return out;
}

} // namespace

TEST_CASE("the forms of a target")
{
    const Parsed origin("GET /a%20b?c=%zz HTTP/1.1\r\nHost: h\r\n\r\n");
    const auto target = parse_target(origin.head);
    REQUIRE(target.has_value());
    CHECK(target->form == TargetForm::origin);
    CHECK(target->path == "/a%20b");
    CHECK(target->query == "c=%zz");
    CHECK(target->path_and_query == "/a%20b?c=%zz");

    const Parsed absolute("GET HTTP://Example.com:8080 HTTP/1.1\r\nHost: other\r\n\r\n");
    const auto other = parse_target(absolute.head);
    REQUIRE(other.has_value());
    CHECK(other->path_and_query == "/");
    CHECK(*find_authority(absolute.head, *other) == "Example.com:8080");

    CHECK_FALSE(other->is_https);
    for (const char* line : {"GET HTTPS://a HTTP/1.1", "GET https://a?b HTTP/1.1", "GET https://a/b HTTP/1.1"}) {
        CAPTURE(line);
        const Parsed secure(std::string(line) + "\r\nHost: a\r\n\r\n");
        CHECK(parse_target(secure.head)->is_https);
    }

    const Parsed pathless("GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(parse_target(pathless.head)->query == "b");
    CHECK(parse_target(pathless.head)->lacks_slash);

    const Parsed asterisk("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(parse_target(asterisk.head)->form == TargetForm::asterisk);
}

TEST_CASE("bad targets are errors")
{
    for (const char* line :
         {"GET * HTTP/1.1", "CONNECT a:80 HTTP/1.1", "GET a HTTP/1.1", "GET ftp://a/ HTTP/1.1", "GET http:/// HTTP/1.1",
          "GET http://u@a/ HTTP/1.1", "GET /%zz HTTP/1.1", "GET /%a HTTP/1.1", "GET /a%00b HTTP/1.1"}) {
        CAPTURE(line);
        const Parsed parsed(std::string(line) + "\r\nHost: h\r\n\r\n");
        CHECK_FALSE(parse_target(parsed.head).has_value());
    }
}

TEST_CASE("Host stands there once and is a host")
{
    const auto authority = [](const std::string& fields, const char* version = "HTTP/1.1") -> std::string {
        const Parsed parsed(std::string("GET / ") + version + "\r\n" + fields + "\r\n");
        const auto found = find_authority(parsed.head, *parse_target(parsed.head));
        return found ? std::string(*found) : "error: " + std::string(name_of(found.error()));
    };
    CHECK(authority("Host: a.b:80\r\n") == "a.b:80");
    CHECK(authority("Host: [::1]:80\r\n") == "[::1]:80");
    CHECK(authority("") == "error: missing_host");
    CHECK(authority("", "HTTP/1.0").empty());
    CHECK(authority("Host: a\r\nHost: a\r\n") == "error: repeated_host");
    for (const char* bad :
         {"", "a b", "a,b", "a/b", "u@a", "a:b", "a:99999", "[::1", "::1", "a%62", "[g::1]", "a:80:80", "[]", ".", ".a", "a..b"}) {
        CAPTURE(bad);
        CHECK(authority(std::string("Host: ") + bad + "\r\n") == "error: bad_host");
    }
}

TEST_CASE("paths are normalised for matching only as far as RFC 3986 allows")
{
    CHECK(normalised("/") == "/");
    CHECK(normalised("/a/b") == "/a/b");
    CHECK(normalised("/a/../b") == "/b");
    CHECK(normalised("/../../b/.") == "/b/");
    CHECK(normalised("/a/..") == "/");
    CHECK(normalised("/%7euser/%2e%2e/x") == "/x");
    CHECK(normalised("/a%2fb") == "/a%2Fb"); // an encoded slash is not a slash
    CHECK(normalised("//a//b/./") == "//a//b/");
    CHECK(normalised("/.hidden/..b") == "/.hidden/..b");
}
