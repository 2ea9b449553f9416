// SPDX-License-Identifier: Apache-2.0
#include "worker/route/router.h"

#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <fmt/format.h>

using namespace ladle;

namespace {

/// A configuration and its router; asks them as a request would.
struct Routing {
    explicit Routing(const std::string& toml) : config(test::load_good(toml)), router(*config) {}

    std::string site(std::string_view host, std::uint32_t listen = 0) const
    {
        const config::Site* found = router.find_site(listen, host);
        return found == nullptr ? "404" : found->name;
    }

    /// The name of the route on site "a.test"; `header` is one line "Name: value".
    std::string route(std::string_view method, std::string_view path_and_query, std::string_view header = "",
                      std::string_view host = "a.test") const
    {
        const std::size_t mark = std::min(path_and_query.find('?'), path_and_query.size());
        http::Fields fields;
        const std::size_t colon = header.find(": ");
        if (colon != std::string_view::npos) {
            fields.rebase(header.data());
            (void)fields.add({0, static_cast<std::uint16_t>(colon), http::find_field_name(header.substr(0, colon)), false,
                              static_cast<std::uint32_t>(colon + 2), static_cast<std::uint32_t>(header.size() - colon - 2)});
        }
        const config::Site* on = router.find_site(0, host);
        REQUIRE(on != nullptr);
        const config::Route* found =
            router.find_route(*on, {host, path_and_query.substr(0, mark),
                                    path_and_query.substr(std::min(mark + 1, path_and_query.size())), method, fields});
        return found == nullptr ? "404" : found->name;
    }

    std::shared_ptr<const config::Config> config;
    worker::Router router;
};

std::string site_toml(const std::string& name, const std::string& rest = "")
{
    return fmt::format("[site.\"{}\"]\nlisten = \"http://127.0.0.1:8080\"\nupstream = \"http://127.0.0.1:3000\"\n{}\n", name, rest);
}

} // namespace

TEST_CASE("route: the most specific host name wins, whatever the order in the file")
{
    const Routing routing(site_toml("*") + site_toml("*.com") + site_toml("*.example.com") + site_toml("example.com") +
                          site_toml("a.b.example.com"));
    CHECK(routing.site("example.com") == "example.com");
    CHECK(routing.site("a.b.example.com") == "a.b.example.com");
    CHECK(routing.site("b.example.com") == "*.example.com");
    CHECK(routing.site("x.a.b.example.com") == "*.example.com");
    CHECK(routing.site("example.org") == "*");
    CHECK(routing.site("other.com") == "*.com");
    CHECK(routing.site("com") == "*");
    CHECK(routing.site("") == "*");
    CHECK(routing.site("example.com.") == "example.com");
    CHECK(routing.site(".example.com") == "*.com");
}

TEST_CASE("route: a host that no site has is no site")
{
    const Routing routing(site_toml("example.com", "aliases = [\"www.example.com\", \"*.alias.test\", \"[::1]\"]"));
    CHECK(routing.site("www.example.com") == "example.com");
    CHECK(routing.site("x.alias.test") == "example.com");
    CHECK(routing.site("alias.test") == "404");
    CHECK(routing.site("[::1]") == "example.com");
    CHECK(routing.site("other.test") == "404");
    CHECK(routing.site("") == "404");
}

TEST_CASE("route: a site is only found on the addresses that it listens on")
{
    const Routing routing(
        "[listen.inside]\nbind = [\"127.0.0.1:81\", \"[::1]:81\"]\n"
        "[site.\"a.test\"]\nlisten = [\"inside\", \"http://127.0.0.1:80\"]\nupstream = \"http://127.0.0.1:3000\"\n"
        "[site.\"*\"]\nlisten = \"http://127.0.0.1:80\"\nupstream = \"http://127.0.0.1:3000\"\n");
    const std::uint32_t inside = routing.router.listen_index("[::1]:81");
    const std::uint32_t outside = routing.router.listen_index("127.0.0.1:80");
    CHECK(inside == routing.router.listen_index("127.0.0.1:81"));
    CHECK(inside != outside);
    CHECK(routing.router.listen_index("127.0.0.1:82") == worker::Router::kNoListen);
    CHECK(routing.site("a.test", inside) == "a.test");
    CHECK(routing.site("b.test", inside) == "404");
    CHECK(routing.site("a.test", outside) == "a.test");
    CHECK(routing.site("b.test", outside) == "*");
    CHECK(routing.site("a.test", worker::Router::kNoListen) == "404");
}

TEST_CASE("route: the first route in file order that matches is taken, else the site's own")
{
    const Routing routing(site_toml("a.test", "[[site.\"a.test\".route]]\nname = \"exact\"\npath = \"/one\"\n"
                                              "[[site.\"a.test\".route]]\nname = \"prefix\"\npath = \"/one*\"\n"
                                              "[[site.\"a.test\".route]]\nname = \"glob\"\npath = \"/*/x*.png\"\n"
                                              "[[site.\"a.test\".route]]\nname = \"regex\"\npath_regex = \"/u/[0-9]+\"\n"));
    CHECK(routing.route("GET", "/one") == "exact");
    CHECK(routing.route("GET", "/one/two") == "prefix");
    CHECK(routing.route("GET", "/a/b/x1.png") == "glob");
    CHECK(routing.route("GET", "/a/b/y1.png") == "default");
    CHECK(routing.route("GET", "/u/12") == "regex");
    CHECK(routing.route("GET", "/u/12/") == "default");
    CHECK(routing.route("GET", "/v/u/12") == "default");
    CHECK(routing.route("OPTIONS", "*") == "default");
}

TEST_CASE("route: a site without an upstream of its own answers only what its routes match")
{
    const Routing routing("[site.\"a.test\"]\n[[site.\"a.test\".route]]\npath = \"/one\"\nrespond = 403\n");
    CHECK(routing.route("GET", "/one") == "/one");
    CHECK(routing.route("GET", "/two") == "404");
}

TEST_CASE("route: every match that is given must hold: method, header, query, host")
{
    const Routing routing(site_toml("a.test",
                                    "aliases = [\"b.test\"]\n"
                                    "[[site.\"a.test\".route]]\nname = \"method\"\nmethod = [\"PUT\", \"POST\"]\npath = \"/m\"\n"
                                    "[[site.\"a.test\".route]]\nname = \"header\"\nheader = { X-Version = \"2*\" }\n"
                                    "[[site.\"a.test\".route]]\nname = \"agent\"\nheader = { user-agent = \"*bot*\" }\n"
                                    "[[site.\"a.test\".route]]\nname = \"query\"\nquery = { page = \"1\", \"a b\" = \"*\" }\n"
                                    "[[site.\"a.test\".route]]\nname = \"host\"\nhost = \"b.test\"\n"));
    CHECK(routing.route("POST", "/m") == "method");
    CHECK(routing.route("post", "/m") == "default");
    CHECK(routing.route("PUT", "/n") == "default");
    CHECK(routing.route("GET", "/", "x-version: 2.1") == "header");
    CHECK(routing.route("GET", "/", "X-Version: 1.2") == "default");
    CHECK(routing.route("GET", "/", "X-Versio: 2") == "default");
    CHECK(routing.route("GET", "/", "User-Agent: a bot of sorts") == "agent");
    CHECK(routing.route("GET", "/?page=1&a+b") == "query");
    CHECK(routing.route("GET", "/?a%20b=x&pag%65=%31") == "query");
    CHECK(routing.route("GET", "/?page=1") == "default");
    CHECK(routing.route("GET", "/?page=11&a+b=") == "default");
    CHECK(routing.route("GET", "/?&&=&page=2&page=1&a%20b&%zz=%") == "query");
    CHECK(routing.route("GET", "/", "", "b.test") == "host");
}

TEST_CASE("route: with 1000 sites of 20 routes a choice takes microseconds")
{
    std::string toml = "[upstream.app]\nservers = [\"127.0.0.1:3000\"]\n";
    for (int site = 0; site < 1000; ++site) {
        toml += fmt::format("[site.\"s{}.example.com\"]\nupstream = \"app\"\n", site);
        for (int route = 0; route < 20; ++route) {
            toml += fmt::format("[[site.\"s{}.example.com\".route]]\npath = \"/part{}/*\"\n", site, route);
        }
    }
    const auto before_load = std::chrono::steady_clock::now();
    const Routing routing(toml);
    const auto load_time = std::chrono::steady_clock::now() - before_load;
    const http::Fields fields;
    constexpr int kRounds = 20'000;
    int found = 0;
    std::string host;
    const auto start = std::chrono::steady_clock::now();
    for (int round = 0; round < kRounds; ++round) {
        host.assign("s").append(std::to_string(round % 1000)).append(".example.com");
        const config::Site* site = routing.router.find_site(0, host);
        found += routing.router.find_route(*site, {host, "/part19/index.html", "", "GET", fields}) != nullptr ? 1 : 0;
    }
    const auto spent = std::chrono::steady_clock::now() - start;
    const double each = std::chrono::duration<double, std::micro>(spent).count() / kRounds;
    MESSAGE(fmt::format("{:.2f} us for each choice, {} ms to load", each,
                        std::chrono::duration_cast<std::chrono::milliseconds>(load_time).count()));
    CHECK(found == kRounds);
    // Generous: sanitizers and busy machines; the release build takes a small part of it.
    CHECK(each < 50.0);
}
