// SPDX-License-Identifier: Apache-2.0
//
// Routes by cookie, body type, Accept, kind of file, scheme, client and country; many expressions in groups; which upstream of a
// split a client has.
#include "worker/route/router.h"
#include "worker/route/split.h"

#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <map>
#include <set>

using namespace ladle;

namespace {

using FieldLines = std::vector<std::pair<std::string, std::string>>;

/// A request as the router sees it.
struct AskedRoute {
    std::string path = "/";
    FieldLines fields = {};
    std::string scheme = "http";
    std::string client = "192.0.2.1";
};

/// The fields of a request, with the text that they stand in.
struct OwnFields {
    explicit OwnFields(const FieldLines& lines)
    {
        for (const auto& [name, value] : lines) {
            text += name + value;
        }
        fields.rebase(text.data());
        std::uint32_t at = 0;
        for (const auto& [name, value] : lines) {
            const auto value_at = at + static_cast<std::uint32_t>(name.size());
            (void)fields.add({at, static_cast<std::uint16_t>(name.size()), http::find_field_name(name), false, value_at,
                              static_cast<std::uint32_t>(value.size())});
            at = value_at + static_cast<std::uint32_t>(value.size());
        }
    }
    std::string text;
    http::Fields fields;
};

/// One route with the given match, before the site's own.
struct OneRoute {
    explicit OneRoute(const std::string& match, std::map<std::string, std::string> files = {}, const std::string& server = "")
        : config(test::load_good(server + "[site.\"a.test\"]\nlisten = \"http://127.0.0.1:8080\"\n"
                                          "upstream = \"http://127.0.0.1:1\"\n"
                                          "[[site.\"a.test\".route]]\nname = \"it\"\n" +
                                     match + "\n",
                                 std::move(files))),
          router(*config)
    {
    }

    bool takes(const AskedRoute& asked) const
    {
        const OwnFields own(asked.fields);
        const worker::RouteQuery query{"a.test", asked.path, "", "GET", own.fields, asked.scheme, asked.client};
        return router.find_route(config->sites[0], query)->name == "it";
    }

    std::shared_ptr<const config::Config> config;
    worker::Router router;
};

/// A database of one network, 192.0.2.0/24 in DE, as tests/harness/mmdb.py writes it with records of 24 bits and only IPv4.
std::string small_database()
{
    std::string tree;
    const auto append = [&tree](std::uint32_t left, std::uint32_t right) {
        for (const std::uint32_t record : {left, right}) {
            tree += {static_cast<char>(record >> 16), static_cast<char>(record >> 8), static_cast<char>(record)};
        }
    };
    constexpr std::uint32_t kNodes = 24;
    constexpr std::uint32_t kNetwork = 0xC0000200;
    for (std::uint32_t bit = 0; bit < kNodes; ++bit) {
        const std::uint32_t next = bit + 1 == kNodes ? kNodes + 16 : bit + 1;
        const bool is_right = (kNetwork >> (31 - bit) & 1u) != 0;
        append(is_right ? kNodes : next, is_right ? next : kNodes);
    }
    const std::string data = "\xE1\x47" "country\xE1\x48" "iso_code\x42" "DE";
    const std::string metadata = std::string("\xE4\x4Anode_count\xC1\x18\x4Brecord_size\xA1\x18\x4Aip_version\xA1\x04\x5B") +
                                 "binary_format_major_version\xA1\x02";
    return tree + std::string(16, '\0') + data + "\xAB\xCD\xEFMaxMind.com" + metadata;
}

const std::string kServer = "[server]\ncountry_database = \"c.mmdb\"\n";

} // namespace

TEST_CASE("route: a cookie is matched by its name, with case, and a pattern for its value")
{
    const OneRoute route("cookie = { beta = \"on*\" }");
    CHECK(route.takes({.fields = {{"Cookie", "a=1; beta=on; c=2"}}}));
    CHECK(route.takes({.fields = {{"Cookie", "a=1"}, {"Cookie", "beta=only"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Cookie", "Beta=on"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Cookie", "xbeta=on; beta=off"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Cookie", "beta"}}}));
    CHECK_FALSE(route.takes({}));
    const OneRoute two("cookie = { a = \"*\", b = \"2\" }");
    CHECK(two.takes({.fields = {{"Cookie", "b=2;a="}}}));
    CHECK_FALSE(two.takes({.fields = {{"Cookie", "b=2"}}}));
}

TEST_CASE("route: a body's type is matched without its parameters and its case")
{
    const OneRoute route("content_type = [\"multipart/*\", \"application/json\"]");
    CHECK(route.takes({.fields = {{"Content-Type", "Multipart/Form-Data; boundary=x"}}}));
    CHECK(route.takes({.fields = {{"Content-Type", "application/json"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Content-Type", "application/json5"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Content-Type", "application/json"}, {"Content-Type", "text/html"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Content-Type", "multipart/" + std::string(200, 'x')}}}));
    CHECK_FALSE(route.takes({}));
}

TEST_CASE("route: accept is for clients that name the type")
{
    const OneRoute route("accept = [\"text/html\", \"application/xhtml+xml\"]");
    CHECK(route.takes({.fields = {{"Accept", "text/html,application/xml;q=0.9,*/*;q=0.8"}}}));
    CHECK(route.takes({.fields = {{"Accept", "application/xhtml+xml;q=0.1"}}}));
    CHECK(route.takes({.fields = {{"Accept", "text/*"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Accept", "*/*"}}}));
    CHECK_FALSE(route.takes({.fields = {{"Accept", "text/html;q=0, application/json"}}}));
    CHECK_FALSE(route.takes({}));
}

TEST_CASE("route: type goes by the extension of the path, scheme and client by who asks")
{
    const OneRoute type("type = [\"image\", \"sound\"]");
    CHECK(type.takes({.path = "/x/a.JPG"}));
    CHECK(type.takes({.path = "/a.ogg"}));
    CHECK_FALSE(type.takes({.path = "/a.js"}));
    CHECK_FALSE(type.takes({.path = "/a.jpg/"}));
    const OneRoute scheme("scheme = \"https\"");
    CHECK(scheme.takes({.scheme = "https"}));
    CHECK_FALSE(scheme.takes({}));
    const OneRoute client("client = [\"10.0.0.0/8\", \"2001:db8::/32\"]");
    CHECK(client.takes({.client = "10.9.8.7"}));
    CHECK(client.takes({.client = "::ffff:10.0.0.1"}));
    CHECK(client.takes({.client = "2001:db8::5"}));
    CHECK_FALSE(client.takes({.client = "11.0.0.1"}));
    CHECK_FALSE(client.takes({.client = "unix:"}));
}

TEST_CASE("route: a country is looked up in the database; who is in none has none")
{
    const OneRoute route("country = [\"AT\", \"DE\"]", {{"c.mmdb", small_database()}}, kServer);
    CHECK(route.takes({.client = "192.0.2.77"}));
    CHECK_FALSE(route.takes({.client = "192.0.3.1"}));
    CHECK_FALSE(route.takes({.client = "2001:db8::1"}));
    CHECK_FALSE(route.takes({.client = "unix:"}));
    const OneRoute other("country = \"FR\"", {{"c.mmdb", small_database()}}, kServer);
    CHECK_FALSE(other.takes({.client = "192.0.2.77"}));
}

TEST_CASE("country database: whatever byte is cut off or changed, a search ends and reads nothing outside")
{
    const std::string whole = small_database();
    std::uint64_t state = 1;
    std::size_t opened = 0;
    for (std::size_t round = 0; round < 20'000; ++round) {
        std::string broken = whole;
        for (int changes = 0; changes < 3; ++changes) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            broken[(state >> 33) % broken.size()] = static_cast<char>(state >> 25);
        }
        broken.resize(round % 3 == 0 ? (state >> 40) % broken.size() : broken.size());
        const auto text = std::make_shared<const std::string>(std::move(broken));
        if (const auto database = config::CountryDatabase::open({*text, text})) {
            ++opened;
            (void)(*database)->find({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1});
            (void)(*database)->find({0x20, 1});
        }
    }
    CHECK(opened > 1000);
}

TEST_CASE("route: of many expressions the first in file order is taken, as if each were asked by itself")
{
    std::string toml = "[site.\"a.test\"]\nlisten = \"http://127.0.0.1:8080\"\nupstream = \"http://127.0.0.1:1\"\n";
    for (int i = 0; i < 50; ++i) {
        toml += fmt::format("[[site.\"a.test\".route]]\nname = \"r{}\"\npath_regex = \"{}\"\n", i,
                            i % 3 == 0   ? fmt::format("/p{}/.*", i)
                            : i % 3 == 1 ? fmt::format(".*\\\\.x{}", i)
                                         : fmt::format("/(a{0}|b{0})*/z", i));
    }
    const auto config = test::load_good(toml);
    const worker::Router router(*config);
    const OwnFields none(FieldLines{});
    for (int i = 0; i < 50; ++i) {
        for (const std::string& path : {fmt::format("/p{}/a.x{}", i, i), fmt::format("/q.x{}", i), fmt::format("/b{0}a{0}/z", i)}) {
            std::string expected = "default";
            for (const config::Route& route : config->sites[0].routes) {
                if (!route.match.path_regex.empty() && RE2::FullMatch(path, route.match.path_regex)) {
                    expected = route.name;
                    break;
                }
            }
            CAPTURE(path);
            CHECK(router.find_route(config->sites[0], {"a.test", path, "", "GET", none.fields})->name == expected);
        }
    }
}

TEST_CASE("route: how an expression begins is told only where every match begins so")
{
    CHECK(worker::literal_beginning("/shop/(a|b)/.*") == "/shop/");
    CHECK(worker::literal_beginning("^/old/(.*)") == "/old/");
    CHECK(worker::literal_beginning("/ab*") == "/a");
    CHECK(worker::literal_beginning("/\xC3\xA9?x") == "/");
    CHECK(worker::literal_beginning("/a{2}") == "/");
    CHECK(worker::literal_beginning("/a|/b") == "");
    CHECK(worker::literal_beginning("/a[(]x|/b") == "");
    CHECK(worker::literal_beginning("/a[]|]b") == "/a");
    CHECK(worker::literal_beginning("/a\\|b") == "/a");
    CHECK(worker::literal_beginning("(?i)/a") == "");
    CHECK(worker::literal_beginning("/a\\Q(\\E|/b") == "");
    CHECK(worker::literal_beginning("/a$") == "/a");
    CHECK(worker::literal_beginning("") == "");
}

TEST_CASE("split: the shares are kept to, and a client stays where it is when the last one grows")
{
    config::Route route;
    route.split = {{0, 95}, {1, 5}};
    const OwnFields none(FieldLines{});
    int canaries = 0;
    std::set<int> before;
    for (int i = 0; i < 20'000; ++i) {
        if (worker::choose_share(route, fmt::format("10.{}.{}.1", i / 200, i % 200), none.fields) == 1) {
            ++canaries;
            before.insert(i);
        }
    }
    CHECK(canaries > 850);
    CHECK(canaries < 1150);
    route.split = {{0, 80}, {1, 20}};
    for (const int i : before) {
        CHECK(worker::choose_share(route, fmt::format("10.{}.{}.1", i / 200, i % 200), none.fields) == 1);
    }
    route.split = {{7, 0}, {8, 1}};
    CHECK(worker::choose_share(route, "10.0.0.1", none.fields) == 8);
}

TEST_CASE("split: IPv6 clients count by /64, and a cookie or a header comes before the address")
{
    config::Route route;
    route.split = {{0, 1}, {1, 1}};
    const OwnFields none(FieldLines{});
    std::map<std::uint32_t, int> seen;
    for (int i = 0; i < 64; ++i) {
        ++seen[worker::choose_share(route, fmt::format("2001:db8::{:x}", i + 1), none.fields)];
    }
    CHECK(seen.size() == 1);
    route.split_by = {config::SplitKey::Kind::cookie, "sid"};
    seen.clear();
    for (int i = 0; i < 64; ++i) {
        const OwnFields cookie(FieldLines{{"Cookie", fmt::format("x=1; sid={}", i)}});
        ++seen[worker::choose_share(route, "10.0.0.1", cookie.fields)];
        CHECK(worker::choose_share(route, "10.0.0.1", cookie.fields) == worker::choose_share(route, "10.0.0.2", cookie.fields));
    }
    CHECK(seen.size() == 2);
    route.split_by = {config::SplitKey::Kind::header, "x-user"};
    const OwnFields header(FieldLines{{"X-User", "7"}});
    CHECK(worker::choose_share(route, "10.0.0.1", header.fields) == worker::choose_share(route, "10.0.0.2", header.fields));
}
