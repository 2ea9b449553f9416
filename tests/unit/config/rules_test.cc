// SPDX-License-Identifier: Apache-2.0
//
// What a configuration means: defaults, shorthands, inheritance, includes, names.
#include "common/config/service_name.h"
#include "tests/unit/config/loading.h"

#include <netinet/in.h>
#include <sys/un.h>

#include <doctest/doctest.h>

using namespace ladle;
using namespace std::chrono_literals;
using test::check_says;
using test::complaints;
using test::load_good;

namespace {

const std::string kSite = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n";
const std::string kRoute = "[[site.\"a.test\".route]]\n";

void check_same(const config::Timeouts& a, const config::Timeouts& b)
{
    CHECK(a.header == b.header);
    CHECK(a.idle == b.idle);
    CHECK(a.connect == b.connect);
    CHECK(a.response == b.response);
    CHECK(a.stall == b.stall);
    CHECK(a.tunnel == b.tunnel);
}

} // namespace

TEST_CASE("config: the defaults of the settings table are those of the structs")
{
    const auto config = load_good(kSite + "[upstream.app]\nservers = [\"127.0.0.1:80\"]\n");
    const config::Config bare;
    CHECK(config->server.workers == bare.server.workers);
    CHECK(config->server.user == bare.server.user);
    CHECK(config->server.drain_timeout == bare.server.drain_timeout);
    CHECK(config->server.worker_hang_timeout == bare.server.worker_hang_timeout);
    CHECK(config->server.admin == bare.server.admin);
    CHECK(config->budget.spool_memory_bytes == bare.budget.spool_memory_bytes);
    CHECK(config->budget.spool_disk_bytes == bare.budget.spool_disk_bytes);
    CHECK(config->budget.per_client_bytes == bare.budget.per_client_bytes);
    CHECK(config->budget.spool_path == bare.budget.spool_path);
    CHECK(config->request_limits.head_bytes == bare.request_limits.head_bytes);
    CHECK(config->request_limits.header_count == bare.request_limits.header_count);
    CHECK(config->request_limits.uri_bytes == bare.request_limits.uri_bytes);
    CHECK(config->request_limits.body_bytes == bare.request_limits.body_bytes);
    CHECK(config->connection_limits.total == bare.connection_limits.total);
    CHECK(config->log.access.kind == bare.log.access.kind);
    CHECK(config->log.access.path == bare.log.access.path);
    CHECK(config->log.access_format == bare.log.access_format);
    CHECK(config->log.error.kind == bare.log.error.kind);
    CHECK(config->log.error_level == bare.log.error_level);
    check_same(config->timeouts, bare.timeouts);

    const config::Route& route = config->sites.at(0).routes.at(0);
    const config::Route bare_route;
    CHECK(route.name == "default");
    check_same(route.timeouts, bare_route.timeouts);
    CHECK(route.request_buffering == bare_route.request_buffering);
    CHECK(route.response_buffering == bare_route.response_buffering);
    CHECK(route.body_bytes == bare_route.body_bytes);

    const config::Upstream& upstream = config->upstreams.at(0);
    const config::Upstream bare_upstream;
    CHECK(upstream.name == "app");
    CHECK(upstream.balance == bare_upstream.balance);
    CHECK(upstream.keepalive_idle == bare_upstream.keepalive_idle);
    CHECK(upstream.keepalive_timeout == bare_upstream.keepalive_timeout);
    CHECK(upstream.queue_size == bare_upstream.queue_size);
    CHECK(upstream.queue_timeout == bare_upstream.queue_timeout);
    CHECK(upstream.servers.at(0).weight == 1);
    CHECK(upstream.servers.at(0).max_conn == 0);
}

TEST_CASE("config: a site without listen is served on port 80 of every address, and all such sites share it")
{
    const auto config = load_good(kSite + "[site.\"b.test\"]\nupstream = \"http://127.0.0.1:3000\"\n");
    REQUIRE(config->listens.size() == 2);
    CHECK(config->listens[0].bind.at(0).text == "0.0.0.0:80");
    CHECK(config->listens[1].bind.at(0).text == "[::]:80");
    CHECK(config->sites[0].listens == std::vector<std::uint32_t>{0, 1});
    CHECK(config->sites[1].listens == config->sites[0].listens);
    CHECK(config->upstreams.size() == 1);
}

TEST_CASE("config: listen of a site is a URL, a list, or the name of a table")
{
    const auto config = load_good("[listen.public]\nbind = [\"0.0.0.0:8080\", \"[::]:8080\"]\n" + kSite +
                                  "listen = [\"public\", \"http://[0:0::1]:81\", \"http://unix:/run/x.sock\"]\n"
                                  "[site.\"b.test\"]\nlisten = \"http://[::1]:81\"\nupstream = \"http://127.0.0.1:3000\"\n");
    REQUIRE(config->listens.size() == 3);
    CHECK(config->listens[0].name == "public");
    CHECK(config->listens[0].bind.size() == 2);
    CHECK(config->sites[0].listens == std::vector<std::uint32_t>{0, 1, 2});
    CHECK(config->sites[1].listens == std::vector<std::uint32_t>{1});
    const config::BindAddress& v6 = config->listens[1].bind.at(0);
    CHECK(v6.text == "[::1]:81");
    CHECK(v6.address.ss_family == AF_INET6);
    CHECK(v6.address_length == sizeof(sockaddr_in6));
    CHECK(reinterpret_cast<const sockaddr_in6&>(v6.address).sin6_port == htons(81));
    const config::BindAddress& local = config->listens[2].bind.at(0);
    CHECK(local.text == "unix:/run/x.sock");
    CHECK(std::string(reinterpret_cast<const sockaddr_un&>(local.address).sun_path) == "/run/x.sock");
}

TEST_CASE("config: a server may be a service, whose SRV records say where it is")
{
    const auto config = load_good("[upstream.app]\nservers = [\"srv:_http._tcp.App.Internal.\", \"http://srv:web.service.consul\", "
                                  "{ address = \"srv:_a._b.c\", weight = 5 }]\n"
                                  "[site.\"a.test\"]\nupstream = \"app\"\n");
    const config::Upstream& upstream = config->upstreams.at(0);
    REQUIRE(upstream.servers.size() == 3);
    CHECK(upstream.servers[0].text == "srv:_http._tcp.app.internal");
    CHECK(upstream.servers[0].host_name == "_http._tcp.app.internal");
    CHECK(config::domain_of(upstream.servers[0]) == "app.internal");
    CHECK(config::is_service(upstream.servers[0]));
    CHECK(upstream.servers[0].port == 0);
    CHECK(upstream.servers[1].text == "srv:web.service.consul");
    CHECK(config::domain_of(upstream.servers[1]) == "web.service.consul");
    CHECK(config::domain_of(upstream.servers[2]) == "c");
    CHECK(upstream.servers[2].weight == 5);
}

TEST_CASE("config: a server is a literal address, a name to resolve, or a Unix socket")
{
    const auto config =
        load_good("[upstream.app]\nservers = [\"10.0.0.1:8080\", \"[::1]:81\", \"App.Internal.:82\", "
                  "\"unix:/run/app.sock\", \"http://10.0.0.2\", { address = \"10.0.0.3:80\", weight = 5, max_conn = 7 }, "
                  "\"srv:80\"]\n"
                  "weight = 3\nmax_conn = 9\nbalance = \"round_robin\"\nkeepalive = { idle = 0 }\nqueue = { timeout = \"1s\" }\n"
                  "[site.\"a.test\"]\nupstream = \"app\"\n");
    const config::Upstream& upstream = config->upstreams.at(0);
    REQUIRE(upstream.servers.size() == 7);
    CHECK(upstream.servers[0].text == "10.0.0.1:8080");
    CHECK(upstream.servers[0].host_name.empty());
    CHECK(upstream.servers[0].address.ss_family == AF_INET);
    CHECK(upstream.servers[0].weight == 3);
    CHECK(upstream.servers[0].max_conn == 9);
    CHECK(upstream.servers[1].text == "[::1]:81");
    CHECK(upstream.servers[2].text == "app.internal:82");
    CHECK(upstream.servers[2].host_name == "app.internal");
    CHECK(upstream.servers[2].port == 82);
    CHECK(upstream.servers[2].address_length == 0);
    CHECK(upstream.servers[3].text == "unix:/run/app.sock");
    CHECK(upstream.servers[4].text == "10.0.0.2:80");
    CHECK(upstream.servers[5].weight == 5);
    CHECK(upstream.servers[5].max_conn == 7);
    CHECK(upstream.servers[6].text == "srv:80"); // a host may be called so
    CHECK(upstream.servers[6].host_name == "srv");
    CHECK_FALSE(config::is_service(upstream.servers[6]));
    CHECK(upstream.balance == config::Balance::round_robin);
    CHECK(upstream.keepalive_idle == 0);
    CHECK(upstream.keepalive_timeout == 60s);
    CHECK(upstream.queue_size == 500);
    CHECK(upstream.queue_timeout == 1s);
}

TEST_CASE("config: a URL as upstream makes one that all who give it share")
{
    const auto config = load_good(kSite + kRoute + "path = \"/a\"\nupstream = \"http://127.0.0.1:3000/\"\n" + kRoute +
                                  "path = \"/b\"\nupstream = \"http://unix:/run/b.sock\"\n");
    REQUIRE(config->upstreams.size() == 2);
    CHECK(config->upstreams[0].name == "http://127.0.0.1:3000");
    CHECK(config->upstreams[1].name == "http://unix:/run/b.sock");
    const std::vector<config::Route>& routes = config->sites[0].routes;
    CHECK(routes[0].upstream == 0u);
    CHECK(routes[1].upstream == 1u);
    CHECK(routes[2].upstream == 0u);
}

TEST_CASE("config: tables are inherited key by key, from the top over the site to the route")
{
    const auto config =
        load_good("[timeouts]\nconnect = \"1s\"\nstall = \"2s\"\nidle = \"9s\"\n"
                  "[defence.request]\nbody = \"5MiB\"\n" +
                  kSite + "body = \"6MiB\"\nbuffer = { request = \"stream\" }\ntimeouts = { stall = \"3s\" }\n" + kRoute +
                  "path = \"/a\"\nbody = \"7MiB\"\nbuffer = { response = \"stream\" }\ntimeouts = { response = \"4s\" }\n" +
                  "[site.\"b.test\"]\nupstream = \"http://127.0.0.1:3000\"\n");
    const config::Route& route = config->sites[0].routes[0];
    CHECK(route.timeouts.connect == 1s);
    CHECK(route.timeouts.stall == 3s);
    CHECK(route.timeouts.response == 4s);
    CHECK(route.timeouts.idle == 9s);
    CHECK(route.timeouts.tunnel == 1h);
    CHECK(route.request_buffering == config::RequestBuffering::stream);
    CHECK(route.response_buffering == config::ResponseBuffering::stream);
    CHECK(route.body_bytes == 7u << 20);
    const config::Route& own = config->sites[0].routes[1];
    CHECK(own.timeouts.response == 30s);
    CHECK(own.response_buffering == config::ResponseBuffering::spool);
    CHECK(own.body_bytes == 6u << 20);
    CHECK(config->sites[1].routes[0].body_bytes == 5u << 20);
    CHECK(config->sites[1].routes[0].timeouts.stall == 2s);
}

TEST_CASE("config: \"unset\" removes what would be inherited")
{
    const auto config = load_good("[timeouts]\nconnect = \"1s\"\nstall = \"2s\"\n[defence.request]\nbody = \"5MiB\"\n" + kSite +
                                  "buffer = { request = \"stream\" }\n" + kRoute +
                                  "path = \"/a\"\nbody = \"unset\"\nbuffer = \"unset\"\ntimeouts = { connect = \"unset\" }\n" +
                                  kRoute + "path = \"/b\"\ntimeouts = \"unset\"\n");
    const std::vector<config::Route>& routes = config->sites[0].routes;
    CHECK(routes[0].timeouts.connect == 3s);
    CHECK(routes[0].timeouts.stall == 2s);
    CHECK(routes[0].body_bytes == 100u << 20);
    CHECK(routes[0].request_buffering == config::RequestBuffering::full);
    CHECK(routes[1].timeouts.stall == 30s);
    CHECK(routes[2].request_buffering == config::RequestBuffering::stream);
    check_says("\n[timeouts]\nidle = \"unset\"\n[site.\"a.test\"]\nupstream = \"unset\"\n", R"~(
x.toml:2:8: error: expected a duration such as "10s", got the string "unset"
    2 | idle = "unset"
      |        ^^^^^^^
x.toml:4:12: error: there is no [upstream.unset]
    4 | upstream = "unset"
      |            ^^^^^^^ add [upstream.unset] with servers = ["10.0.0.1:8080"], or write a URL such as "http://127.0.0.1:3000"
)~");
}

TEST_CASE("config: a shorthand is the table with that one key")
{
    const auto config = load_good("[log]\naccess = \"off\"\nerror = \"/var/log/x\"\n[server]\nworkers = \"auto\"\n" + kSite +
                                  "aliases = \"b.test\"\n" + kRoute + "respond = 403\n");
    CHECK(config->log.access.kind == config::LogTarget::Kind::off);
    CHECK(config->log.error.kind == config::LogTarget::Kind::file);
    CHECK(config->log.error.path == "/var/log/x");
    CHECK(config->sites[0].aliases == std::vector<std::string>{"b.test"});
    REQUIRE(config->sites[0].routes[0].respond);
    CHECK(config->sites[0].routes[0].respond->status == 403);
    CHECK(config->sites[0].routes[0].respond->content_type == "text/plain; charset=utf-8");
    CHECK_FALSE(config->sites[0].routes[0].upstream);
}

TEST_CASE("config: names of sites are compared without case and without a dot at the end")
{
    const auto config = load_good(
        "[site.\"WWW.Example.COM.\"]\nupstream = \"http://127.0.0.1:3000\"\naliases = [\"*.Example.org\", \"[0:0::1]\"]\n");
    CHECK(config->sites[0].name == "www.example.com");
    CHECK(config->sites[0].aliases == std::vector<std::string>{"*.example.org", "[::1]"});
}

TEST_CASE("config: routes without a name get one from what they match, and each name is used once")
{
    const auto config =
        load_good(kSite + kRoute + "path = \"/a\"\nmethod = \"GET\"\n" + kRoute + "path = \"/a\"\n" + kRoute +
                  "path_regex = \"/b+\"\n" + kRoute + "method = \"PUT\"\n" + kRoute + "name = \"default\"\nhost = \"A.test\"\n");
    std::vector<std::string> names;
    for (const config::Route& route : config->sites[0].routes) {
        names.push_back(route.name);
    }
    CHECK(names == std::vector<std::string>{"/a", "/a#2", "/b+", "route-4", "default", "default#2"});
    CHECK(config->sites[0].routes[4].match.hosts == std::vector<std::string>{"a.test"});
}

TEST_CASE("config: a later route that takes anything of its own is not hidden")
{
    load_good(kSite + "aliases = [\"b.test\"]\n" + kRoute + "path = \"/a/*\"\nmethod = \"GET\"\n" + kRoute + "path = \"/a/b\"\n" +
              kRoute + "path = \"/*/c\"\n" + kRoute + "path = \"/x/*/d\"\nhost = \"b.test\"\n" + kRoute +
              "path_regex = \"/y.*\"\n" + kRoute + "path = \"/y/*\"\n" + kRoute + "host = \"a.test\"\n" + kRoute +
              "path = \"/z\"\n");
}

TEST_CASE("config: address ranges are held as IPv6")
{
    const auto config = load_good(
        "[trust]\nforwarded_from = [\"10.0.0.0/8\", \"::1\", \"2001:db8::/32\", \"192.168.1.7\", \"0.0.0.0/0\"]\n" + kSite);
    REQUIRE(config->forwarded_from.size() == 5);
    CHECK(config->forwarded_from[0].prefix_bits == 104);
    CHECK(config->forwarded_from[0].address == std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 0});
    CHECK(config->forwarded_from[1].prefix_bits == 128);
    CHECK(config->forwarded_from[2].prefix_bits == 32);
    CHECK(config->forwarded_from[3].prefix_bits == 128);
    CHECK(config->forwarded_from[4].prefix_bits == 96);
}

TEST_CASE("config: include reads further files, relative to the file that names them")
{
    const std::map<std::string, std::string> others{
        {"sites.d/a.toml", "[site.\"a.test\"]\nupstream = \"app\"\n"},
        {"sites.d/b.toml", "include = \"more/c.toml\"\n[timeouts]\nstall = \"2s\"\n"},
        {"sites.d/more/c.toml", "[upstream.app]\nservers = \"127.0.0.1:3000\"\n"},
    };
    const auto config = load_good("include = [\"sites.d/*.toml\"]\n[timeouts]\nconnect = \"1s\"\n", others,
                                  {{"sites.d/*.toml", {"sites.d/a.toml", "sites.d/b.toml"}}});
    CHECK(config->sites.size() == 1);
    CHECK(config->upstreams.size() == 1);
    CHECK(config->timeouts.connect == 1s);
    CHECK(config->timeouts.stall == 2s);
}

TEST_CASE("config: what two files define twice shows both")
{
    CHECK(complaints("include = \"b.toml\"\n" + kSite + "[timeouts]\nidle = \"1s\"\n",
                     {{"b.toml", "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n[timeouts]\nidle = \"2s\"\n"}}) ==
          "b.toml:1:7: error: [site.\"a.test\"] is defined twice\n"
          "    1 | [site.\"a.test\"]\n"
          "      |       ^^^^^^^^ first at x.toml:2:7\n"
          "b.toml:4:1: error: timeouts.idle is defined twice\n"
          "    4 | idle = \"2s\"\n"
          "      | ^^^^ first at x.toml:5:1\n");
}

TEST_CASE("config: an include that cannot be read is an error at its place, a pattern without files is none")
{
    load_good("include = \"none/*.toml\"\n" + kSite);
    CHECK(complaints("include = [\"a.toml\", 3, \"\"]\n" + kSite) ==
          "x.toml:1:12: error: cannot read a.toml: No such file or directory\n"
          "    1 | include = [\"a.toml\", 3, \"\"]\n"
          "      |            ^^^^^^^^\n"
          "x.toml:1:22: error: expected a string, got the integer 3\n"
          "    1 | include = [\"a.toml\", 3, \"\"]\n"
          "      |                      ^\n"
          "x.toml:1:25: error: expected the name of a file, or a pattern such as \"sites.d/*.toml\"\n"
          "    1 | include = [\"a.toml\", 3, \"\"]\n"
          "      |                         ^^\n");
}

TEST_CASE("config: a file that includes itself is read once")
{
    CHECK(complaints("include = \"x.toml\"\n" + kSite) == "x.toml:1:11: warning: x.toml is included already\n"
                                                          "    1 | include = \"x.toml\"\n"
                                                          "      |           ^^^^^^^^ it is read once\n");
}

TEST_CASE("config: a file that is no TOML does not keep the mistakes of the others from being shown, nor make new ones")
{
    CHECK(complaints("include = \"b.toml\"\n[site.\"a.test\"]\nupstream = \"app\"\nbodie = \"1B\"\n",
                     {{"b.toml", "[upstream.app\n"}}) ==
          "x.toml:4:1: error: unknown key \"bodie\" in [site.\"a.test\"]\n"
          "    4 | bodie = \"1B\"\n"
          "      | ^^^^^ did you mean \"body\"?\n"
          "b.toml:1:14: error: not valid TOML in this table header: expected ']', saw '\\n'\n"
          "    1 | [upstream.app\n"
          "      |              ^\n");
}

TEST_CASE("config: error pages come from a folder: by status, by class, or for all")
{
    const std::map<std::string, std::string> others{{"pages/404.html", "not found"},
                                                    {"pages/5xx.html", "server"},
                                                    {"pages/error.html", "any"},
                                                    {"pages/note.html", "x"},
                                                    {"own/4xx.html", "own"}};
    const std::map<std::string, std::vector<std::string>> expansions{
        {"pages/*.html", {"pages/404.html", "pages/5xx.html", "pages/error.html", "pages/note.html"}},
        {"own/*.html", {"own/4xx.html"}}};
    const std::string toml = "[server]\nerror_pages = \"pages\"\n" + kSite + "error_pages = \"own\"\n" +
                             "[site.\"b.test\"]\nupstream = \"http://127.0.0.1:3000\"\n" +
                             "[site.\"c.test\"]\nupstream = \"http://127.0.0.1:3000\"\nerror_pages = \"unset\"\n";
    const auto config = load_good(toml, others, expansions);
    const auto page = [&](std::size_t site, std::uint16_t status) -> std::string {
        const std::string* found = config::find_error_page(config->error_page_sets.at(config->sites.at(site).error_pages), status);
        return found == nullptr ? "built in" : *found;
    };
    CHECK(*config::find_error_page(config->error_page_sets[0], 400) == "any");
    CHECK(page(0, 404) == "own");
    CHECK(page(0, 502) == "built in");
    CHECK(page(1, 404) == "not found");
    CHECK(page(1, 403) == "any");
    CHECK(page(1, 502) == "server");
    CHECK(page(2, 404) == "built in");
    CHECK(complaints(toml, others, expansions) ==
          "x.toml:2:15: warning: pages/note.html is no error page and is not used\n"
          "    2 | error_pages = \"pages\"\n"
          "      |               ^^^^^^^ pages are called 404.html, 4xx.html, 5xx.html or error.html\n");
    CHECK(complaints("[server]\nerror_pages = \"/nowhere\"\n" + kSite) ==
          "x.toml:2:15: error: there is no error page in \"/nowhere\"\n"
          "    2 | error_pages = \"/nowhere\"\n"
          "      |               ^^^^^^^^^^ pages are called 404.html, 4xx.html, 5xx.html or error.html\n");
}
