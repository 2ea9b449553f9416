// SPDX-License-Identifier: Apache-2.0
//
// `health`, `eject`, `retry` and backups of an upstream.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using namespace ladle;
using namespace std::chrono_literals;
using test::check_says;
using test::complaints;
using test::load_good;

namespace {

const std::string kAppSite = "[site.\"a.test\"]\nupstream = \"app\"\n";

config::Upstream load_upstream(const std::string& lines)
{
    return load_good(kAppSite + "[upstream.app]\nservers = [\"127.0.0.1:80\"]\n" + lines).get()->upstreams.at(0);
}

} // namespace

TEST_CASE("config: health is a path, or a table")
{
    CHECK_FALSE(load_upstream("").health);
    const auto path = load_upstream("health = \"/healthz\"\n").health;
    REQUIRE(path);
    CHECK(path->path == "/healthz");
    CHECK(path->kind == config::CheckKind::http);
    CHECK(path->interval == 5s);
    CHECK(path->expect.at(0).first == 200);
    CHECK(path->expect.at(0).last == 399);
    const auto table = load_upstream("protocol = \"h2\"\nhealth = { kind = \"grpc\", service = \"shop\", interval = \"1s\", "
                                     "timeout = \"500ms\", rise = 1, fall = 9 }\n")
                           .health;
    REQUIRE(table);
    CHECK(table->kind == config::CheckKind::grpc);
    CHECK(table->service == "shop");
    CHECK(table->fall == 9);
    const auto expect = load_upstream("health = { path = \"/\", expect = [204, \"3xx\", \"500-503\"] }\n").health->expect;
    REQUIRE(expect.size() == 3);
    CHECK(expect[0].last == 204);
    CHECK(expect[1].first == 300);
    CHECK(expect[2].last == 503);
}

TEST_CASE("config: a check is another one when anything about it is another")
{
    const auto fingerprint = [](const std::string& lines) { return load_upstream(lines).health->fingerprint; };
    const auto first = fingerprint("health = \"/healthz\"\n");
    CHECK(first != 0);
    CHECK(fingerprint("health = { path = \"/healthz\" }\nmax_conn = 7\n") == first);
    CHECK(fingerprint("health = \"/other\"\n") != first);
    CHECK(fingerprint("health = { path = \"/healthz\", fall = 4 }\n") != first);
    CHECK(fingerprint("health = { path = \"/healthz\", expect = 200 }\n") != first);
    CHECK(fingerprint("health = \"/healthz\"\nprotocol = \"h2\"\n") != first);
}

TEST_CASE("config: agent is a port, or a table; with a path it is asked over HTTP")
{
    CHECK_FALSE(load_upstream("").agent);
    const auto port = load_upstream("agent = 9777\n").agent;
    REQUIRE(port);
    CHECK(port->kind == config::CheckKind::line);
    CHECK(port->port == 9777);
    CHECK(port->interval == 5s);
    CHECK(port->timeout == 2s);
    CHECK(port->send.empty());
    const auto table =
        load_upstream("agent = { port = 1, send = \"{server}\\n\", interval = \"1s\", timeout = \"500ms\" }\n").agent;
    REQUIRE(table);
    CHECK(table->send == "{server}\n");
    CHECK(table->interval == 1s);
    const auto path = load_upstream("agent = { path = \"/load\", host = \"a.test\" }\n").agent;
    REQUIRE(path);
    CHECK(path->kind == config::CheckKind::http);
    CHECK(path->port == 0);
    CHECK(path->host == "a.test");
    CHECK(path->expect.at(0).first == 200);
    CHECK(path->expect.at(0).last == 299);
}

TEST_CASE("config: an agent is asked something else when anything about the question is, but for how often")
{
    const auto fingerprint = [](const std::string& lines) { return load_upstream(lines).agent->fingerprint; };
    const auto first = fingerprint("agent = 9777\n");
    CHECK(first != 0);
    CHECK(fingerprint("agent = { port = 9777, interval = \"1s\", timeout = \"1s\" }\nmax_conn = 7\n") == first);
    CHECK(fingerprint("agent = 9778\n") != first);
    CHECK(fingerprint("agent = { port = 9777, send = \"x\" }\n") != first);
    CHECK(fingerprint("agent = { port = 9777, path = \"/\" }\n") != first);
}

TEST_CASE("config: load_report is a format, or a table")
{
    CHECK_FALSE(load_upstream("").load_report);
    const auto word = load_upstream("load_report = \"orca\"\n").load_report;
    REQUIRE(word);
    CHECK(word->penalty == config::LoadReport{}.penalty);
    CHECK(word->blackout == config::LoadReport{}.blackout);
    CHECK(word->expire == config::LoadReport{}.expire);
    const auto table = load_upstream("load_report = { penalty = \"50%\", blackout = \"0s\", expire = \"1m\" }\n").load_report;
    REQUIRE(table);
    CHECK(table->penalty == 50);
    CHECK(table->blackout == 0s);
    CHECK(table->expire == 60s);
}

TEST_CASE("config: a server has to be slower than the others to be ejected for it")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
eject = { slow = 1, slow_requests = 51, slow_least = 100 }
[site."a.test"]
upstream = "app"
)~",
               R"~(
x.toml:3:18: error: a server that is as slow as the others is no reason to eject it
    3 | eject = { slow = 1, slow_requests = 51, slow_least = 100 }
      |                  ^ write how many times slower it has to be, 2 or more, or 0 for never
x.toml:3:37: error: upstream.app.eject.slow_requests must be from 5 to 50, got 51
    3 | eject = { slow = 1, slow_requests = 51, slow_least = 100 }
      |                                     ^^
x.toml:3:54: error: expected a duration such as "100s", got the integer 100
    3 | eject = { slow = 1, slow_requests = 51, slow_least = 100 }
      |                                                      ^^^ write "100s"
)~");
}

TEST_CASE("config: where clients choose their server none is ejected for being slow")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
balance = "hash"
eject = { slow = 5 }
[site."a.test"]
upstream = "app"
)~",
               R"~(
x.toml:4:18: warning: it does nothing here: with the method "hash" clients decide which server gets their slow requests
    4 | eject = { slow = 5 }
      |                  ^ write slow = 0 for this upstream
)~");
    CHECK(load_upstream("balance = \"hash\"\neject = { slow = 5 }\n").eject.slow == 0);
    CHECK(load_upstream("sticky = \"app\"\neject = { slow = 5 }\n").eject.slow == 0);
    CHECK(load_upstream("balance = \"random\"\neject = { slow = 5 }\n").eject.slow == 5);
}

TEST_CASE("config: mistakes about agents")
{
    check_says(R"~(
[site."a.test"]
upstream = "app"
[upstream.app]
servers = ["127.0.0.1:80"]
agent = { port = 9777, path = "load", send = "x" }
load_report = "xds"
[[site."a.test".route]]
path = "/b"
upstream = "b"
[upstream.b]
servers = ["127.0.0.1:81"]
agent = { host = "a.test", interval = "1s" }
)~",
               R"~(
x.toml:5:31: error: expected a path that begins with /, without blanks, got "load"
    5 | agent = { port = 9777, path = "load", send = "x" }
      |                               ^^^^^^ write agent = { path = "/load" }
x.toml:5:46: error: over HTTP nothing is sent but the request
    5 | agent = { port = 9777, path = "load", send = "x" }
      |                                              ^^^ leave it or the path out
x.toml:6:15: error: expected "orca", got the string "xds"
    6 | load_report = "xds"
      |               ^^^^^
x.toml:12:9: error: where does the agent listen?
   12 | agent = { host = "a.test", interval = "1s" }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ write agent = { port = 9777 }, or a path if the server itself answers over HTTP
x.toml:12:9: warning: it is longer than the interval: while an agent is silent it is asked less often
   12 | agent = { host = "a.test", interval = "1s" }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
x.toml:12:18: error: only a question over HTTP names a host
   12 | agent = { host = "a.test", interval = "1s" }
      |                  ^^^^^^^^ give it a path as well
)~");
}

TEST_CASE("config: eject and retry have short forms, and defaults")
{
    const config::Upstream bare = load_upstream("");
    CHECK(bare.eject.failures == config::Ejection{}.failures);
    CHECK(bare.eject.within == config::Ejection{}.within);
    CHECK(bare.eject.rate == config::Ejection{}.rate);
    CHECK(bare.eject.time == config::Ejection{}.time);
    CHECK(bare.eject.longest == config::Ejection{}.longest);
    CHECK(bare.eject.share == config::Ejection{}.share);
    CHECK(bare.retry.attempts == config::Retry{}.attempts);
    CHECK(bare.retry.budget == config::Retry{}.budget);
    CHECK(bare.retry.on_status == std::vector<std::uint16_t>{502, 503, 504});
    CHECK(bare.panics);
    CHECK(bare.eject.slow == 0);
    CHECK(bare.eject.slow_least == config::Ejection{}.slow_least);
    CHECK(bare.eject.slow_requests == config::Ejection{}.slow_requests);
    const config::Ejection slow = load_upstream("eject = { slow = 5, slow_least = \"1s\", slow_requests = 50 }\n").eject;
    CHECK(slow.slow == 5);
    CHECK(slow.slow_least == 1s);
    CHECK(slow.slow_requests == 50);
    CHECK(slow.failures == bare.eject.failures);
    CHECK(load_upstream("eject = 0\n").eject.failures == 0);
    CHECK(load_upstream("eject = { for = \"10m\" }\n").eject.longest == 10min);
    CHECK(load_upstream("retry = 1\n").retry.attempts == 1);
    const config::Retry some = load_upstream("retry = { on = [\"connect\", 503] }\n").retry;
    CHECK(some.on_connect);
    CHECK_FALSE(some.on_reset);
    CHECK(some.on_status == std::vector<std::uint16_t>{503});
    const auto backup =
        load_good(kAppSite + "[upstream.app]\nservers = [\"127.0.0.1:80\", { address = \"127.0.0.1:81\", backup = true }]\n");
    CHECK_FALSE(backup->upstreams.at(0).servers.at(0).is_backup);
    CHECK(backup->upstreams.at(0).servers.at(1).is_backup);
}

TEST_CASE("config: hedge has a short form, and is off by default")
{
    CHECK(load_upstream("").hedge.percent == 0);
    CHECK(load_upstream("hedge = \"off\"\n").hedge.percent == 0);
    const config::Hedging brief = load_upstream("hedge = \"p95\"\n").hedge;
    CHECK(brief.percent == 95);
    CHECK(brief.budget == config::Hedging{}.budget);
    CHECK(brief.soonest == config::Hedging{}.soonest);
    const config::Hedging table = load_upstream("hedge = { at = \"p50\", budget = \"20%\", soonest = \"2ms\" }\n").hedge;
    CHECK(table.percent == 50);
    CHECK(table.budget == 20);
    CHECK(table.soonest == 2ms);
    CHECK(load_upstream("hedge = \"p99\"\n").hedge.percent == 99);
}

TEST_CASE("config: mistakes about hedge, and what makes it useless")
{
    check_says(R"~(
[site."a.test"]
upstream = "app"
[upstream.app]
servers = ["127.0.0.1:80", "127.0.0.1:81"]
hedge = { at = "p94", budget = 5, soonest = "0s" }
)~",
               R"~(
x.toml:5:16: error: expected "off", "p50", "p75", "p90", "p95", "p98" or "p99", got the string "p94"
    5 | hedge = { at = "p94", budget = 5, soonest = "0s" }
      |                ^^^^^ did you mean "p90"?
x.toml:5:32: error: expected a share such as "5%", got the integer 5
    5 | hedge = { at = "p94", budget = 5, soonest = "0s" }
      |                                ^ write "5%"
x.toml:5:45: error: upstream.app.hedge.soonest must be from 1ms to 1h, got 0s
    5 | hedge = { at = "p94", budget = 5, soonest = "0s" }
      |                                             ^^^^ in less nothing is known of a server that is about to answer
)~");
    const std::string site = "[site.\"a.test\"]\nupstream = \"app\"\n[upstream.app]\n";
    const auto says = [&](const std::string& lines, std::string_view what) {
        return complaints(site + lines).find(what) != std::string::npos;
    };
    const std::string two = "servers = [\"127.0.0.1:80\", \"127.0.0.1:81\"]\n";
    CHECK(says("servers = [\"127.0.0.1:80\"]\nhedge = \"p95\"\n", "warning: there is no second server"));
    CHECK(says(two + "hedge = \"p95\"\nretry = 1\n", "warning: retry = 1 lets a request be sent to one server only"));
    CHECK(says(two + "hedge = { budget = \"1%\" }\n", "warning: it does not say when"));
    CHECK(complaints(site + two + "hedge = \"p95\"\n").empty());
}

TEST_CASE("config: mistakes about health")
{
    check_says(R"~(
[site."a.test"]
upstream = "app"
[upstream.app]
servers = ["127.0.0.1:80"]
health = { path = "healthz", kind = "grpc", expect = [200, "good"], rise = 0 }
retry = { on = ["timeout"] }
)~",
               R"~(
x.toml:5:19: error: expected a path that begins with /, without blanks, got "healthz"
    5 | health = { path = "healthz", kind = "grpc", expect = [200, "good"], rise = 0 }
      |                   ^^^^^^^^^ write health = "/healthz"
x.toml:5:37: error: gRPC is spoken over HTTP/2
    5 | health = { path = "healthz", kind = "grpc", expect = [200, "good"], rise = 0 }
      |                                     ^^^^^^ write protocol = "h2" in [upstream.app]
x.toml:5:60: error: expected a status, got "good"
    5 | health = { path = "healthz", kind = "grpc", expect = [200, "good"], rise = 0 }
      |                                                            ^^^^^^ write 204, "2xx" or "200-399"
x.toml:5:76: error: upstream.app.health.rise must be from 1 to 100, got 0
    5 | health = { path = "healthz", kind = "grpc", expect = [200, "good"], rise = 0 }
      |                                                                            ^
x.toml:6:17: error: expected a reason to ask again, got "timeout"
    6 | retry = { on = ["timeout"] }
      |                 ^^^^^^^^^ write "connect", "reset", or a status of a failing server: 502, 503, 504
)~");
}

TEST_CASE("config: breaker is true, or a table")
{
    const auto load_breaker = [](const std::string& text) { return load_upstream(text + "\n").breaker; };
    CHECK_FALSE(load_breaker(""));
    CHECK_FALSE(load_breaker("breaker = false"));
    const auto plain = load_breaker("breaker = true");
    REQUIRE(plain);
    CHECK(plain->rate == 50);
    CHECK(plain->requests == 20);
    CHECK(plain->within == 10s);
    CHECK(plain->time == 10s);
    CHECK(plain->longest == 2min);
    CHECK(plain->trials == 3);
    const auto all = load_breaker("breaker = { rate = \"20%\", requests = 7, within = \"3s\", for = \"4s\", longest = \"5s\", "
                                  "trials = 1 }");
    REQUIRE(all);
    CHECK(all->rate == 20);
    CHECK(all->requests == 7);
    CHECK(all->within == 3s);
    CHECK(all->time == 4s);
    CHECK(all->longest == 5s);
    CHECK(all->trials == 1);
    CHECK(load_breaker("breaker = { for = \"10m\" }")->longest == 10min);
}
