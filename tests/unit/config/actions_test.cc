// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a route's newer matches and with what it makes of a request, and how headers are merged. The texts are exactly
// what `ladle check` prints.
#include "common/config/path_examples.h"
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;
using ladle::test::check_says_of_site;
using ladle::test::load_good;

namespace {

/// "name: value" of each edit, then "-name" of each removed.
std::string text_of(const ladle::config::FieldEdits& edits)
{
    std::string out;
    for (const auto& set : edits.set) {
        out += set.name + ": " + set.value + "\n";
    }
    for (const std::string& name : edits.remove) {
        out += "-" + name + "\n";
    }
    return out;
}

} // namespace

TEST_CASE("config: wrong values of a route's matches are said with their place")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
cookie = { "a b" = "1", c = "" }
content_type = "multipart/form-data; x"
accept = ["*/*", "html", "text/html"]
type = ["imag", "json"]
scheme = "ftp"
client = ["10.0.0.1/8", "x"]
country = ["de", "UK", "GER"]
)~",
                       R"~(
x.toml:4:12: error: "a b" is not the name of a cookie
    4 | cookie = { "a b" = "1", c = "" }
      |            ^^^^^
x.toml:4:29: error: expected a value to match, got an empty string
    4 | cookie = { "a b" = "1", c = "" }
      |                             ^^ "*" = it is there, with any value
x.toml:5:16: error: expected a type such as "multipart/*", got "multipart/form-data; x"
    5 | content_type = "multipart/form-data; x"
      |                ^^^^^^^^^^^^^^^^^^^^^^^^ parameters are not looked at: end before the ";"
x.toml:6:11: error: every client accepts "*/*"
    6 | accept = ["*/*", "html", "text/html"]
      |           ^^^^^ leave accept out
x.toml:6:18: error: expected a type such as "text/html" or "text/*", got "html"
    6 | accept = ["*/*", "html", "text/html"]
      |                  ^^^^^^
x.toml:7:9: error: expected "image", "audio", "video", "font", "script" or "style", got "imag"
    7 | type = ["imag", "json"]
      |         ^^^^^^ did you mean "image"?
x.toml:7:17: error: expected "image", "audio", "video", "font", "script" or "style", got "json"
    7 | type = ["imag", "json"]
      |                 ^^^^^^ a type of the request's body is content_type, of the answer accept
x.toml:8:10: error: expected "http" or "https", got the string "ftp"
    8 | scheme = "ftp"
      |          ^^^^^
x.toml:9:11: error: expected an address range such as "10.0.0.0/8", got "10.0.0.1/8"
    9 | client = ["10.0.0.1/8", "x"]
      |           ^^^^^^^^^^^^ bits behind the prefix are set: write "10.0.0.0/8"
x.toml:9:25: error: expected an address range such as "10.0.0.0/8", got "x"
    9 | client = ["10.0.0.1/8", "x"]
      |                         ^^^
x.toml:10:1: error: there is no database of countries
   10 | country = ["de", "UK", "GER"]
      | ^^^^^^^ write country_database = "/var/lib/GeoIP/GeoLite2-Country.mmdb" in [server]
x.toml:10:12: error: expected a country's two capital letters, such as "DE", got "de"
   10 | country = ["de", "UK", "GER"]
      |            ^^^^ write "DE"
x.toml:10:18: error: "UK" is no country of ISO 3166
   10 | country = ["de", "UK", "GER"]
      |                  ^^^^ write "GB"
x.toml:10:24: error: expected a country's two capital letters, such as "DE", got "GER"
   10 | country = ["de", "UK", "GER"]
      |                        ^^^^^
)~");
}

TEST_CASE("config: a route that asks for a country needs a database")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
country = "DE"
)~",
                       R"~(
x.toml:4:1: error: there is no database of countries
    4 | country = "DE"
      | ^^^^^^^ write country_database = "/var/lib/GeoIP/GeoLite2-Country.mmdb" in [server]
)~");
}

TEST_CASE("config: a database of countries that cannot be read shows the route that needs it")
{
    check_says(R"~(
[server]
country_database = "none.mmdb"
[site."a.test"]
upstream = "http://127.0.0.1:1"
[[site."a.test".route]]
country = "DE"
)~",
               R"~(
x.toml:2:20: error: cannot read none.mmdb: No such file or directory
    2 | country_database = "none.mmdb"
      |                    ^^^^^^^^^^^ the route at x.toml:6:1 asks for a country
)~");
}

TEST_CASE("config: wrong strip, rewrite, redirect and split are said with their place")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/1/*"
strip = "/v2/"
[[site."a.test".route]]
path = "/2/*"
strip = "v2/*"
rewrite = { regex = "(", to = "/x" }
[[site."a.test".route]]
path = "/3/*"
rewrite = { regex = "(a", to = "/x" }
[[site."a.test".route]]
path = "/4/*"
rewrite = { regex = "/(a)", to = "/x$2" }
[[site."a.test".route]]
path = "/5/*"
rewrite = { to = "x y" }
[[site."a.test".route]]
path = "/6/*"
rewrite = { regex = "/a" }
[[site."a.test".route]]
path = "/7/*"
redirect = { to = "/$1", status = 304 }
[[site."a.test".route]]
path = "/8/*"
redirect = "https://$1.test/"
upstream = "http://127.0.0.1:2"
respond = 403
[[site."a.test".route]]
path = "/9/*"
split = { a = 5, b = "x" }
[[site."a.test".route]]
path = "/10/*"
split = { "http://127.0.0.1:1" = 0 }
split_by = "ip"
upstream = "http://127.0.0.1:2"
)~",
                       R"~(
x.toml:5:9: error: expected the beginning of a path such as "/v2", got "/v2/"
    5 | strip = "/v2/"
      |         ^^^^^^ write "/v2"
x.toml:9:1: error: a route has a "strip" or a "rewrite", not both
    9 | rewrite = { regex = "(", to = "/x" }
      | ^^^^^^^ strip is at x.toml:8:1
x.toml:12:21: error: not a regular expression that RE2 takes: missing ): (a
   12 | rewrite = { regex = "(a", to = "/x" }
      |                     ^^^^
x.toml:15:34: error: there is no group $2: the expression has 1
   15 | rewrite = { regex = "/(a)", to = "/x$2" }
      |                                  ^^^^^^
x.toml:18:18: error: "x y" cannot be filled in: it holds only characters of a URL, and no "#": write others as %20
   18 | rewrite = { to = "x y" }
      |                  ^^^^^
x.toml:21:11: error: a rewrite needs a "to"
   21 | rewrite = { regex = "/a" }
      |           ^^^^^^^^^^^^^^^^ write rewrite = { regex = "/old/(.*)", to = "/new/$1" }
x.toml:24:19: error: there is no group $1: the expression has 0
   24 | redirect = { to = "/$1", status = 304 }
      |                   ^^^^^ write path_regex with a group in (), or $0 for the whole path
x.toml:24:35: error: 304 is no redirect
   24 | redirect = { to = "/$1", status = 304 }
      |                                   ^^^ 308 and 307 (for now) keep the method, 301, 302 and 303 make a GET of it
x.toml:27:1: error: a route has a "redirect" or a "respond", not both
   27 | redirect = "https://$1.test/"
      | ^^^^^^^^ respond is at x.toml:29:1
x.toml:27:12: error: "https://$1.test/" cannot be filled in: it begins with "/", or with "https://" and a host without captures
   27 | redirect = "https://$1.test/"
      |            ^^^^^^^^^^^^^^^^^^
x.toml:28:1: error: a route has an "upstream" or a "respond", not both
   28 | upstream = "http://127.0.0.1:2"
      | ^^^^^^^^ respond is at x.toml:29:1
x.toml:32:11: error: there is no [upstream.a]
   32 | split = { a = 5, b = "x" }
      |           ^ add [upstream.a] with servers = ["10.0.0.1:8080"], or write a URL such as "http://127.0.0.1:3000"
x.toml:32:22: error: expected a whole number, got the string "x"
   32 | split = { a = 5, b = "x" }
      |                      ^^^ shares need not add up to 100
x.toml:35:9: error: expected an upstream with a share of more than 0
   35 | split = { "http://127.0.0.1:1" = 0 }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ write split = { api = 95, canary = 5 }
x.toml:37:1: error: a route has an "upstream" or a "split", not both
   37 | upstream = "http://127.0.0.1:2"
      | ^^^^^^^^ split is at x.toml:35:1
)~");
}

TEST_CASE("config: a mirror that is unknown, the upstream itself, or without an upstream is said with its place")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:1"]
[upstream.shadow]
servers = ["127.0.0.1:2"]
[site."a.test"]
upstream = "app"
mirror = "shadw"
[[site."a.test".route]]
path = "/1"
mirror = "app"
[[site."a.test".route]]
path = "/2"
split = { app = 1, shadow = 1 }
mirror = { to = "shadow", share = "101%" }
[[site."a.test".route]]
path = "/3"
split = { app = 1, shadow = 1 }
mirror = "shadow"
[[site."a.test".route]]
path = "/4"
mirror = { to = "shadow", share = 10 }
[[site."a.test".route]]
path = "/5"
respond = 403
mirror = "shadow"
[site."b.test"]
upstream = "app"
mirror = "shadow"
[[site."b.test".route]]
path = "/1"
upstream = "shadow"
[site."c.test"]
upstream = "app"
mirror = { share = "5%" }
[mirror]
requests = 0
timeout = "1ms"
)~",
               R"~(
x.toml:7:10: error: there is no [upstream.shadw]
    7 | mirror = "shadw"
      |          ^^^^^^^ did you mean "shadow", defined at x.toml:3:11?
x.toml:10:10: error: the mirror "app" is where the requests themselves go
   10 | mirror = "app"
      |          ^^^^^ write another upstream
x.toml:14:17: error: the mirror "shadow" is where the requests themselves go
   14 | mirror = { to = "shadow", share = "101%" }
      |                 ^^^^^^^^ write another upstream
x.toml:14:35: error: expected a share such as "10%", from 0% to 100%, got the string "101%"
   14 | mirror = { to = "shadow", share = "101%" }
      |                                   ^^^^^^
x.toml:18:10: error: the mirror "shadow" is where the requests themselves go
   18 | mirror = "shadow"
      |          ^^^^^^^^ write another upstream
x.toml:21:35: error: expected a share such as "100%", got the integer 10
   21 | mirror = { to = "shadow", share = 10 }
      |                                   ^^ write "10%"
x.toml:25:1: error: a route has a "mirror" or a "respond", not both
   25 | mirror = "shadow"
      | ^^^^^^ respond is at x.toml:24:1
x.toml:28:10: error: the mirror "shadow" is where the requests themselves go
   28 | mirror = "shadow"
      |          ^^^^^^^^ of the route at x.toml:29:1: write mirror = "unset" there
x.toml:34:10: error: where the copies go is not said
   34 | mirror = { share = "5%" }
      |          ^^^^^^^^^^^^^^^^ write mirror = { to = "http://127.0.0.1:3001", share = "10%" }
x.toml:36:12: error: mirror.requests must be from 1 to 100000, got 0
   36 | requests = 0
      |            ^ each holds memory of its own
x.toml:37:11: error: mirror.timeout must be from 100ms to 1h, got 1ms
   37 | timeout = "1ms"
      |           ^^^^^ one that hangs takes the place of others
)~");
}

TEST_CASE("config: a mirror is inherited key by key, and a route may do without")
{
    const auto config = load_good(R"~(
[upstream.app]
servers = ["127.0.0.1:1"]
[upstream.shadow]
servers = ["127.0.0.1:2"]
[mirror]
requests = 7
bodies = "1MiB"
answer = "2KiB"
timeout = "3s"
[site."a.test"]
upstream = "app"
mirror = "shadow"
[[site."a.test".route]]
path = "/1"
mirror = { share = "10%" }
[[site."a.test".route]]
path = "/2"
upstream = "shadow"
mirror = "unset"
[[site."a.test".route]]
path = "/3"
respond = 204
[[site."a.test".route]]
path = "/4"
mirror = "http://127.0.0.1:3"
)~");
    const auto& routes = config->sites[0].routes;
    REQUIRE(routes.size() == 5);
    CHECK(routes[0].mirror->share == 10);
    CHECK(config->upstreams[routes[0].mirror->upstream].name == "shadow");
    CHECK_FALSE(routes[1].mirror.has_value());
    CHECK_FALSE(routes[2].mirror.has_value());
    CHECK(config->upstreams[routes[3].mirror->upstream].name == "http://127.0.0.1:3");
    CHECK(routes[4].name == "default");
    CHECK(routes[4].mirror->share == 100);
    CHECK(config->mirror.requests == 7);
    CHECK(config->mirror.body_bytes == 1 << 20);
    CHECK(config->mirror.answer_bytes == 2048);
    CHECK(config->mirror.timeout == std::chrono::seconds(3));
}

TEST_CASE("config: headers that frame, name or trace a message are not edited")
{
    check_says(R"~(
[headers]
request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
response_set = { Transfer-Encoding = "chunked", Set-Cookie = "a=b", X-D = "a\nb" }
response_remove = ["Server", "Via", "X-D"]
[site."a.test"]
upstream = "http://127.0.0.1:1"
headers = { response_set = { X-E = "1" }, response_remove = ["X-E"], request_remove = ["Cookie", "X-C"] }
[[site."a.test".route]]
path = "/1"
headers = { request_set = 5 }
)~",
               R"~(
x.toml:2:23: error: a header's value is not empty, holds no control characters and has no blanks at its ends
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                       ^^ request_remove = ["X-A"] removes it
x.toml:2:33: error: a header's value is not empty, holds no control characters and has no blanks at its ends
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                                 ^^^^
x.toml:2:39: error: "Host" is not to be edited: Ladle writes it: servers rely on what it says
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                                       ^^^^
x.toml:2:51: error: "X-Forwarded-For" is not to be edited: Ladle writes it: servers rely on what it says
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                                                   ^^^^^^^^^^^^^^^
x.toml:2:74: error: "Content_Length" is not to be edited: it says where the body ends
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                                                                          ^^^^^^^^^^^^^^
x.toml:2:96: error: "X Y" is not the name of a header
    2 | request_set = { X-A = "", X-B = " b", Host = "x", X-Forwarded-For = "y", Content_Length = "5", "X Y" = "1" }
      |                                                                                                ^^^^^
x.toml:3:18: error: "Transfer-Encoding" is not to be edited: it says where the body ends
    3 | response_set = { Transfer-Encoding = "chunked", Set-Cookie = "a=b", X-D = "a\nb" }
      |                  ^^^^^^^^^^^^^^^^^
x.toml:3:49: error: "Set-Cookie" is not to be edited: it would take the place of the server's own cookies, or take them away
    3 | response_set = { Transfer-Encoding = "chunked", Set-Cookie = "a=b", X-D = "a\nb" }
      |                                                 ^^^^^^^^^^
x.toml:3:69: error: "X-D" is both set and removed
    3 | response_set = { Transfer-Encoding = "chunked", Set-Cookie = "a=b", X-D = "a\nb" }
      |                                                                     ^^^ set is enough: it takes the place of what was there
x.toml:4:30: error: "Via" is not to be edited: loops are found by it
    4 | response_remove = ["Server", "Via", "X-D"]
      |                              ^^^^^
x.toml:7:30: error: "X-E" is both set and removed
    7 | headers = { response_set = { X-E = "1" }, response_remove = ["X-E"], request_remove = ["Cookie", "X-C"] }
      |                              ^^^ set is enough: it takes the place of what was there
x.toml:10:27: error: expected a table of strings, got the integer 5
   10 | headers = { request_set = 5 }
      |                           ^ write { NAME = "VALUE" }
)~");
}

TEST_CASE("config: routes hidden by a kind of file, a type, a range of clients are found")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
type = ["image", "video"]
[[site."a.test".route]]
path = "/x/*.png"
[[site."a.test".route]]
accept = "text/*"
[[site."a.test".route]]
accept = ["text/html", "text/css"]
[[site."a.test".route]]
client = "10.0.0.0/8"
[[site."a.test".route]]
client = "10.1.0.0/16"
cookie = { a = "1" }
[[site."a.test".route]]
content_type = "multipart/*"
scheme = "https"
[[site."a.test".route]]
content_type = "multipart/form-data"
[[site."a.test".route]]
content_type = "multipart/form-data"
scheme = "https"
)~",
                       R"~(
x.toml:5:1: error: the route "/x/*.png" can never match
    5 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "route-1" at x.toml:3:1 takes every request before it; put the narrower route first
x.toml:9:1: error: the route "route-4" can never match
    9 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "route-3" at x.toml:7:1 takes every request before it; put the narrower route first
x.toml:13:1: error: the route "route-6" can never match
   13 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "route-5" at x.toml:11:1 takes every request before it; put the narrower route first
x.toml:21:1: error: the route "route-9" can never match
   21 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "route-7" at x.toml:16:1 takes every request before it; put the narrower route first
)~");
}

TEST_CASE("config: headers merge from the file over the site to the route, name by name")
{
    const auto config = load_good(R"~(
[headers]
request_set = { X-A = "file", X-B = "file" }
response_set = { X-Frame-Options = "DENY" }
response_remove = ["Server"]
[site."a.test"]
upstream = "http://127.0.0.1:1"
headers = { request_set = { x-a = "site", X-C = "site" }, response_remove = ["X-Powered-By"] }
[[site."a.test".route]]
path = "/1"
headers = { request_set = { X-B = "unset", X-D = "route" }, request_remove = ["X-C"], response_set = { X-Powered-By = "us" } }
[[site."a.test".route]]
path = "/2"
headers = "unset"
[[site."a.test".route]]
path = "/3"
headers = { request_set = "unset", response_remove = "unset" }
[site."b.test"]
upstream = "http://127.0.0.1:1"
)~");
    const auto& routes = config->sites[0].routes;
    CHECK(text_of(routes[0].headers->request) == "x-a: site\nX-D: route\n-x-c\n");
    CHECK(text_of(routes[0].headers->response) == "X-Frame-Options: DENY\nX-Powered-By: us\n");
    CHECK(routes[1].headers == nullptr);
    CHECK(text_of(routes[2].headers->request) == "");
    CHECK(text_of(routes[2].headers->response) == "X-Frame-Options: DENY\n");
    CHECK(text_of(routes[3].headers->request) == "x-a: site\nX-B: file\nX-C: site\n");
    CHECK(text_of(routes[3].headers->response) == "X-Frame-Options: DENY\n-x-powered-by\n");
    CHECK(text_of(config->sites[1].routes[0].headers->response) == "X-Frame-Options: DENY\n-server\n");
}

TEST_CASE("config: sites and routes know where they stand")
{
    const auto config = load_good("[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n"
                                  "[[site.\"a.test\".route]]\npath = \"/1\"\n");
    CHECK(config->files == std::vector<std::string>{"x.toml"});
    CHECK(config->sites[0].at.line == 1);
    CHECK(config->sites[0].routes[0].at.line == 3);
    CHECK(config->sites[0].routes[1].at.line == 2);
}

TEST_CASE("config: only what looks beyond the URL marks the cache's keys")
{
    const auto config = load_good(R"~(
[upstream.a]
servers = ["127.0.0.1:1"]
[site."a.test"]
upstream = "a"
cache = { key = ["host", "path", "query:!utm_*"] }
[[site."a.test".route]]
name = "de"
path = "/1"
cookie = { lang = "de" }
[[site."a.test".route]]
path = "/2"
[[site."a.test".route]]
name = "split"
path = "/3"
split = { a = 1 }
[[site."a.test".route]]
name = "partner"
query = { utm_source = "partner" }
[[site."a.test".route]]
header = { X-Beta = "1" }
[[site."a.test".route]]
name = "never kept"
cookie = { lang = "en" }
cache = false
)~");
    const auto& routes = config->sites[0].routes;
    CHECK(routes[0].cache_mark == "\nroute/de\n");
    CHECK(routes[1].cache_mark == "");
    CHECK(routes[2].cache_mark == "\nroute/split\n");
    CHECK(routes[3].cache_mark == "\nroute/partner\n");
    CHECK(routes[4].cache_mark.starts_with("\nroute/"));
    CHECK(routes[4].cache_mark.find("route-") == std::string::npos); // not by its place, which a reload may change
    CHECK(routes[5].cache_mark == "");
    CHECK(routes[6].cache_mark == "");
    CHECK(config->sites[0].marks_keys);
}

TEST_CASE("config: an example is as long as a path may be, whatever an expression repeats, and what it quotes it does not repeat")
{
    using ladle::config::text_for;
    CHECK(text_for("/\\Q(a{64}){64}\\E/b") == "/(a{64}){64}/b");
    CHECK(text_for("\\Qa.b\\E{3}") == "a.bbb");
    CHECK(text_for("\\Qa.b") == "a.b");
    CHECK(text_for("\\Q\\E/c") == "/c");
    CHECK(text_for("/x{3}(?:ab){2}") == "/xxxabab");
    std::string nested = "a{64}"; // RE2 takes it where it stands in \Q…\E, and there \Q was taken for a letter
    for (int depth = 0; depth < 12; ++depth) {
        nested = "(" + nested + "){64}";
        CHECK(text_for(nested).size() <= 1024 + 64);
    }
    CHECK(text_for(std::string(5000, 'a')).size() == 1024);
}

TEST_CASE("config: each route that changes paths has an example of what it makes of one")
{
    const auto config = load_good(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:1"
[[site."a.test".route]]
path = "/v2/*"
strip = "/v2"
[[site."a.test".route]]
name = "old"
path = "/old/*"
rewrite = { regex = "^/old/([0-9]{4})/(\\w+|x)/(.*)$", to = "/new/$2?year=$1&rest=$3" }
[[site."a.test".route]]
path_regex = "/(blog|news)/(?:[^/]+)?(\\.html)?"
redirect = { to = "https://b.test/$1", status = 302 }
cookie = { a = "1" }
[[site."a.test".route]]
name = "odd"
path_regex = "/(?i)\\pL"
strip = "/x"
)~");
    CHECK(ladle::config::path_examples(*config) ==
          std::vector<std::string>{"a.test \"/v2/*\": /v2/example -> /example",
                                   "a.test \"old\": /old/0000/a/example -> /new/a?year=0000&rest=example",
                                   "a.test \"/(blog|news)/(?:[^/]+)?(\\.html)?\": /blog/a.html -> 302 https://b.test/blog",
                                   "a.test \"odd\": changes paths, but none was found for an example"});
}
