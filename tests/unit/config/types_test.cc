// SPDX-License-Identifier: Apache-2.0
//
// Values of the wrong type, unit, range or word. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;

TEST_CASE("config: a bare number where a unit belongs proposes the unit")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
timeouts = { connect = 600 }
)~",
               R"~(
x.toml:3:24: error: expected a duration such as "10m", got the integer 600
    3 | timeouts = { connect = 600 }
      |                        ^^^ write "600s" or "10m"
)~");
    check_says(R"~(
[server]
drain_timeout = 7
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:17: error: expected a duration such as "7s", got the integer 7
    2 | drain_timeout = 7
      |                 ^ write "7s"
)~");
    check_says(R"~(
[budget]
spool_memory = 64
spool_disk = 1073741824
per_client = 100000
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:16: error: expected a size such as "256MiB", got the integer 64
    2 | spool_memory = 64
      |                ^^ write "64MiB"
x.toml:3:14: error: expected a size such as "8GiB", got the integer 1073741824
    3 | spool_disk = 1073741824
      |              ^^^^^^^^^^ write "1073741824B" or "1GiB"
x.toml:4:14: error: expected a size such as "64MiB", got the integer 100000
    4 | per_client = 100000
      |              ^^^^^^ write "100000B"
)~");
    check_says(R"~(
[timeouts]
idle = -5
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a duration such as "60s", got the integer -5
    2 | idle = -5
      |        ^^
)~");
}

TEST_CASE("config: a duration in another spelling is an error that proposes ours")
{
    check_says(R"~(
[timeouts]
idle = "60sec"
connect = "3 s"
response = "1.5s"
stall = "5min"
tunnel = "60"
header = "soon"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a duration such as "10s", got the string "60sec"
    2 | idle = "60sec"
      |        ^^^^^^^ write "60s"
x.toml:3:11: error: expected a duration such as "10s", got the string "3 s"
    3 | connect = "3 s"
      |           ^^^^^ write "3s"
x.toml:4:12: error: expected a duration such as "10s", got the string "1.5s"
    4 | response = "1.5s"
      |            ^^^^^^ write a whole number of a smaller unit
x.toml:5:9: error: expected a duration such as "10s", got the string "5min"
    5 | stall = "5min"
      |         ^^^^^^ write "5m"
x.toml:6:10: error: expected a duration such as "10s", got the string "60"
    6 | tunnel = "60"
      |          ^^^^ write "60s"
x.toml:7:10: error: expected a duration such as "10s", got the string "soon"
    7 | header = "soon"
      |          ^^^^^^
)~");
    check_says(R"~(
[timeouts]
idle = "99999999999999999999s"
connect = "1w"
stall = ""
tunnel = "9999999999999999d"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a duration such as "10s", got the string "99999999999999999999s"
    2 | idle = "99999999999999999999s"
      |        ^^^^^^^^^^^^^^^^^^^^^^^ this is too large
x.toml:3:11: error: expected a duration such as "10s", got the string "1w"
    3 | connect = "1w"
      |           ^^^^ the units are d, h, m, s, ms
x.toml:4:9: error: expected a duration such as "10s", got the string ""
    4 | stall = ""
      |         ^^
x.toml:5:10: error: expected a duration such as "10s", got the string "9999999999999999d"
    5 | tunnel = "9999999999999999d"
      |          ^^^^^^^^^^^^^^^^^^^ this is too large
)~");
}

TEST_CASE("config: a size in another spelling is an error that proposes ours")
{
    check_says(R"~(
[budget]
spool_memory = "64mb"
spool_disk = "1G"
per_client = "64"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:16: error: expected a size such as "64MiB", got the string "64mb"
    2 | spool_memory = "64mb"
      |                ^^^^^^ write "64MB"
x.toml:3:14: error: expected a size such as "64MiB", got the string "1G"
    3 | spool_disk = "1G"
      |              ^^^^ write "1GiB"
x.toml:4:14: error: expected a size such as "64MiB", got the string "64"
    4 | per_client = "64"
      |              ^^^^ write "64B"
)~");
    check_says(R"~(
[defence.request]
body = "much"
head = "16 KiB"
uri = "8kbit"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a size such as "64MiB", got the string "much"
    2 | body = "much"
      |        ^^^^^^
x.toml:3:8: error: expected a size such as "64MiB", got the string "16 KiB"
    3 | head = "16 KiB"
      |        ^^^^^^^^ write "16KiB"
x.toml:4:7: error: expected a size such as "64MiB", got the string "8kbit"
    4 | uri = "8kbit"
      |       ^^^^^^^ the units are GiB, MiB, KiB, B, GB, MB, KB
)~");
}

TEST_CASE("config: other types where a unit belongs")
{
    check_says(R"~(
[timeouts]
idle = true
connect = 1.5
stall = []
response = {}
tunnel = 07:32:00
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a duration such as "60s", got the boolean true
    2 | idle = true
      |        ^^^^
x.toml:3:11: error: expected a duration such as "3s", got the number 1.5
    3 | connect = 1.5
      |           ^^^
x.toml:4:9: error: expected a duration such as "30s", got a list
    4 | stall = []
      |         ^^
x.toml:5:12: error: expected a duration such as "30s", got a table
    5 | response = {}
      |            ^^
x.toml:6:10: error: expected a duration such as "1h", got a date or time
    6 | tunnel = 07:32:00
      |          ^^^^^^^^
)~");
}

TEST_CASE("config: whole numbers")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
max_conn = "5"
weight = 1.5
[site."a.test"]
upstream = "app"
)~",
               R"~(
x.toml:3:12: error: expected a whole number, got the string "5"
    3 | max_conn = "5"
      |            ^^^ write 5 without quotes
x.toml:4:10: error: expected a whole number, got the number 1.5
    4 | weight = 1.5
      |          ^^^
)~");
    check_says(R"~(
[server]
workers = "many"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:11: error: expected a whole number or "auto", got the string "many"
    2 | workers = "many"
      |           ^^^^^^
)~");
    check_says(R"~(
[defence.connections]
total = -1
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:9: error: defence.connections.total must be from 1 to 4000000, got -1
    2 | total = -1
      |         ^^ each needs a file descriptor
)~");
}

TEST_CASE("config: a value out of its range says why")
{
    check_says(R"~(
[server]
workers = 99
worker_hang_timeout = "1ms"
drain_timeout = "2d"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:11: error: server.workers must be from 1 to 28, got 99
    2 | workers = 99
      |           ^^ the table of processes holds two generations of workers
x.toml:3:23: error: server.worker_hang_timeout must be from 1s to 1h, got 1ms
    3 | worker_hang_timeout = "1ms"
      |                       ^^^^^ a worker beats every 100 ms, and a full core or a slow disk may hold it up for longer
x.toml:4:17: error: server.drain_timeout must be from 0s to 1d, got 2d
    4 | drain_timeout = "2d"
      |                 ^^^^
)~");
    check_says(R"~(
[timeouts]
header = "0s"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:10: error: timeouts.header must be from 1ms to 1h, got 0s
    2 | header = "0s"
      |          ^^^^ none at all would let a silent peer hold a connection forever
)~");
    check_says(R"~(
[budget]
spool_memory = "1KiB"
[defence.request]
head = "2MiB"
headers = 0
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:16: error: budget.spool_memory must be from 1MiB to 1024GiB, got 1KiB
    2 | spool_memory = "1KiB"
      |                ^^^^^^ every connection under way needs some
x.toml:4:8: error: defence.request.head must be from 1KiB to 1MiB, got 2MiB
    4 | head = "2MiB"
      |        ^^^^^^ a head is held in memory
x.toml:5:11: error: defence.request.headers must be from 1 to 10000, got 0
    5 | headers = 0
      |           ^ a head is held in memory
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
respond = 99
)~",
               R"~(
x.toml:4:11: error: site."a.test".route[0].respond.status must be from 200 to 599, got 99
    4 | respond = 99
      |           ^^ a final answer has no other
)~");
}

TEST_CASE("config: one of several words")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
balance = "leastbusy"
[log]
error = { level = "loud" }
access = { format = 3 }
[site."a.test"]
upstream = "app"
)~",
               R"~(
x.toml:3:11: error: expected "least_busy", "round_robin", "random", "latency", "first" or "hash", got the string "leastbusy"
    3 | balance = "leastbusy"
      |           ^^^^^^^^^^^ did you mean "least_busy"?
x.toml:5:19: error: expected "debug", "info", "warning" or "error", got the string "loud"
    5 | error = { level = "loud" }
      |                   ^^^^^^
x.toml:6:21: error: expected "combined" or "json", got the integer 3
    6 | access = { format = 3 }
      |                     ^
)~");
}

TEST_CASE("config: the beginning of a word, a number below its range, an empty name")
{
    check_says(R"~(
[log]
error = { level = "warn" }
[upstream.app]
servers = ["127.0.0.1:3000"]
max_conn = -1
[site."a.test"]
upstream = ""
)~",
               R"~(
x.toml:2:19: error: expected "debug", "info", "warning" or "error", got the string "warn"
    2 | error = { level = "warn" }
      |                   ^^^^^^ did you mean "warning"?
x.toml:5:12: error: upstream.app.max_conn must be from 0 to 1000000, got -1
    5 | max_conn = -1
      |            ^^ 0 is no limit
x.toml:7:12: error: expected the name of an [upstream.NAME] or a URL, got an empty string
    7 | upstream = ""
      |            ^^ write a URL such as "http://127.0.0.1:3000"
)~");
}

TEST_CASE("config: a string, a list of strings")
{
    check_says(R"~(
[server]
user = 5
admin = ""
[trust]
forwarded_from = 10
[site."a.test"]
upstream = ["http://127.0.0.1:3000"]
aliases = ["x.test", 3]
)~",
               R"~(
x.toml:2:8: error: expected a string, got the integer 5
    2 | user = 5
      |        ^ put it in quotes
x.toml:3:9: error: the path of a Unix socket has from 1 to 107 bytes
    3 | admin = ""
      |         ^^
x.toml:5:18: error: expected a string or a list of strings, got the integer 10
    5 | forwarded_from = 10
      |                  ^^
x.toml:7:12: error: expected a string, got a list
    7 | upstream = ["http://127.0.0.1:3000"]
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^
x.toml:8:22: error: expected a string, got the integer 3
    8 | aliases = ["x.test", 3]
      |                      ^ put it in quotes
)~");
    check_says(R"~(
[server]
user = "a\u0000b"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:8: error: expected a string, got one with a NUL in it
    2 | user = "a\u0000b"
      |        ^^^^^^^^^^
)~");
}

TEST_CASE("config: a table where one belongs, and two brackets for routes")
{
    check_says(R"~(
server = 3
[site."a.test"]
upstream = "http://127.0.0.1:3000"
timeouts = "10s"
[site."a.test".route]
path = "/x"
)~",
               R"~(
x.toml:1:10: error: expected a table, got the integer 3
    1 | server = 3
      |          ^ write [server] and its keys below
x.toml:4:12: error: expected a table, got the string "10s"
    4 | timeouts = "10s"
      |            ^^^^^ write [site."a.test".timeouts] and its keys below
x.toml:5:1: error: route is a list of tables, here is one table
    5 | [site."a.test".route]
      | ^^^^^^^^^^^^^^^^^^^^^ write [[site."a.test".route]] with two brackets
)~");
    check_says(R"~(
[site]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:12: error: expected a table [site.upstream], got the string "http://127.0.0.1:3000"
    2 | upstream = "http://127.0.0.1:3000"
      |            ^^^^^^^^^^^^^^^^^^^^^^^ "upstream" belongs in [site.NAME]: the name is missing
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
route = "x"
)~",
               R"~(
x.toml:3:9: error: expected tables [[site."a.test".route]], got the string "x"
    3 | route = "x"
      |         ^^^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
route = ["x"]
)~",
               R"~(
x.toml:3:10: error: expected a table, got the string "x"
    3 | route = ["x"]
      |          ^^^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
header = "X-A"
)~",
               R"~(
x.toml:4:10: error: expected a table of strings, got the string "X-A"
    4 | header = "X-A"
      |          ^^^^^ write { NAME = "VALUE" }
)~");
}

TEST_CASE("config: the request target fits into the head")
{
    check_says(R"~(
[defence.request]
head = "4KiB"
uri = "8KiB"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:3:7: error: uri (8KiB) is more than head (4KiB), which holds it
    3 | uri = "8KiB"
      |       ^^^^^^ raise head, or lower uri
)~");
}

TEST_CASE("config: an address range")
{
    check_says(R"~(
[trust]
forwarded_from = [
  "10.0.0.1/8",
  "10.0.0.0/33",
  "localhost",
  "2001:db8::1/32",
  "::1",
  "10.0.0.0/8",
]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:3:3: error: expected an address range such as "10.0.0.0/8", got "10.0.0.1/8"
    3 |   "10.0.0.1/8",
      |   ^^^^^^^^^^^^ bits behind the prefix are set: write "10.0.0.0/8"
x.toml:4:3: error: expected an address range such as "10.0.0.0/8", got "10.0.0.0/33"
    4 |   "10.0.0.0/33",
      |   ^^^^^^^^^^^^^ the prefix is a number from 0 to 32
x.toml:5:3: error: expected an address range such as "10.0.0.0/8", got "localhost"
    5 |   "localhost",
      |   ^^^^^^^^^^^
x.toml:6:3: error: expected an address range such as "10.0.0.0/8", got "2001:db8::1/32"
    6 |   "2001:db8::1/32",
      |   ^^^^^^^^^^^^^^^^ bits behind the prefix are set: write "2001:db8::/32"
)~");
}

TEST_CASE("config: where a log goes")
{
    check_says(R"~(
[log]
access = "of"
error = { to = "log/error.log" }
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:10: error: expected the absolute path of a file, "stderr" or "off", got "of"
    2 | access = "of"
      |          ^^^^ did you mean "off"?
x.toml:3:16: error: expected the absolute path of a file, "stderr", "journal" or "off", got "log/error.log"
    3 | error = { to = "log/error.log" }
      |                ^^^^^^^^^^^^^^^
)~");
}

TEST_CASE("config: the journal takes the error log, which goes to stderr then, and nothing else does")
{
    for (const char* error : {"error = \"journal\"\n", "error = { to = \"journal\", level = \"debug\" }\n"}) {
        const auto loaded = ladle::test::load_good("[log]\naccess = \"off\"\n" + std::string(error) +
                                                   "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n");
        CHECK(loaded->log.error.kind == ladle::config::LogTarget::Kind::standard_error);
        CHECK(loaded->log.error.path.empty());
    }
    check_says(R"~(
[log]
access = "journal"
error = "jornal"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:10: error: expected the absolute path of a file, "stderr" or "off", got "journal"
    2 | access = "journal"
      |          ^^^^^^^^^ only the error log goes to the journal; "stderr" goes there too where ladle is a systemd service
x.toml:3:9: error: expected the absolute path of a file, "stderr", "journal" or "off", got "jornal"
    3 | error = "jornal"
      |         ^^^^^^^^ did you mean "journal"?
)~");
    check_says(R"~(
[log]
access = "syslog:local7"
error = "syslog"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:10: error: expected the absolute path of a file, "stderr" or "off", got "syslog:local7"
    2 | access = "syslog:local7"
      |          ^^^^^^^^^^^^^^^ ladle does not speak syslog: write "stderr"; systemd's journal takes that, and can pass it on
x.toml:3:9: error: expected the absolute path of a file, "stderr", "journal" or "off", got "syslog"
    3 | error = "syslog"
      |         ^^^^^^^^ ladle does not speak syslog: write "stderr"; systemd's journal takes that, and can pass it on
)~");
}
