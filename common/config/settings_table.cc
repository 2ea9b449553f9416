// SPDX-License-Identifier: Apache-2.0
#include "common/config/settings_table.h"

#include "common/config/values.h"

#include <array>
#include <charconv>

namespace ladle::config {

namespace {

constexpr std::string_view kWhyTimeout = "none at all would let a silent peer hold a connection forever";

// clang-format off
constexpr std::array kSchemas = std::to_array<Schema>({
    {"",            "top level",         "The tables of the file."},
    {"server",      "[server]",          "The process: workers, user, stopping."},
    {"listen",      "[listen.NAME]",     "A named set of addresses to listen on, for the sites that name it."},
    {"proxy_protocol", "proxy_protocol of [listen.NAME]", "Who tells with a PROXY header who the client is."},
    {"trust",       "[trust]",           "Whose word about the client is believed."},
    {"timeouts",    "[timeouts]",        "How long Ladle waits. Also in a site and in a route, key by key."},
    {"budget",      "[budget]",          "Ceilings for the whole proxy, all workers together."},
    {"cache",       "[cache]",           "One cache for all workers, in memory. Sites and routes use it with their own \"cache\"."},
    {"cache_object", "[cache.object]",   "What becomes of one response's body."},
    {"cache_disk",  "[cache.disk]",      "Responses are kept on disk too: what memory has no room for, and over restarts and power failures."},
    {"mirror",      "[mirror]",          "What copies of requests may take, in each worker; past it they are left out. Which requests are copied, and where to, says \"mirror\" of a site or a route."},
    {"tls",         "[tls]",             "TLS with clients; what sites need of their own stands in their own \"tls\"."},
    {"tls_device",  "[tls.device]",      "A device (HSM, smart card) that keeps private keys, for sites that say key = \"pkcs11:…\" or \"engine:…\"."},
    {"defence",     "[defence]",         "What clients may ask for."},
    {"request",     "[defence.request]", "What one request may be."},
    {"connections", "[defence.connections]", "How many clients may be connected."},
    {"http2",       "[defence.http2]",   "What one HTTP/2 connection may do."},
    {"upstream",    "[upstream.NAME]",   "A named group of servers."},
    {"server_entry", "servers of [upstream.NAME]", "One server, where an address alone does not say enough."},
    {"upstream_tls", "tls of [upstream.NAME]", "Its servers are spoken to over TLS, and what they must prove."},
    {"balance",     "balance of [upstream.NAME]", "Which server gets the next request."},
    {"sticky",      "sticky of [upstream.NAME]", "A client comes back to the server that it had, while that one works."},
    {"keepalive",   "keepalive of [upstream.NAME]", "Idle connections kept to each server."},
    {"health",      "health of [upstream.NAME]", "What its servers are asked every few seconds, to know before a client does which of them work."},
    {"agent",       "agent of [upstream.NAME]", "A program beside each server says how much it can take, in HAProxy's words: 75%, maxconn:30, ready, drain, maint, up, down."},
    {"load_report", "load_report of [upstream.NAME]", "Its servers say in their responses how loaded they are, and their weights follow."},
    {"adaptive",    "adaptive of [upstream.NAME]", "How many requests each server may have at once finds itself, by how long its answers take."},
    {"eject",       "eject of [upstream.NAME]", "A server whose requests fail, or are slow, is left alone for a while, by all workers."},
    {"breaker",     "breaker of [upstream.NAME]", "When too many of its requests fail, nothing is sent to any of its servers for a while: requests are answered 503 at once."},
    {"retry",       "retry of [upstream.NAME]", "A request that failed is sent to another server, where that cannot do anything twice."},
    {"hedge",       "hedge of [upstream.NAME]", "A request that waits for longer than most is sent to a second server as well; the first answer counts."},
    {"queue",       "queue of [upstream.NAME]", "Requests that wait while every server has max_conn, or the limit that adaptive has found."},
    {"site",        "[site.\"NAME\"]",   "A host name's configuration. NAME is exact, \"*.example.com\" for the names below it, or \"*\" for every other."},
    {"site_tls",    "tls of a site",     "The certificate, and how clients reach the site over TLS."},
    {"client_certificates", "client of a site's tls", "Clients show a certificate."},
    {"route",       "[[site.\"NAME\".route]]", "Requests of a site that are treated in their own way. The first route in file order that matches is taken; "
                                         "every match given must hold."},
    {"buffer",      "buffer of a site or a route", "What is taken whole before the other side is occupied."},
    {"route_cache", "cache of a site or a route", "Whether and how responses are kept and answered from the cache. As RFC 9111 says where nothing is set."},
    {"route_mirror", "mirror of a site or a route", "Copies of requests for a second upstream, whose answers are dropped. The client neither waits for them nor sees how they fare."},
    {"rewrite",     "rewrite of a route", "Another path for the server. $1 to $9 are the groups of the expression, $0 is the whole path."},
    {"redirect",    "redirect of a route", "Clients are sent to another URL."},
    {"headers",     "[headers]",         "Headers that are set or left out, on the way to servers and to clients. Also in a site and in a route, name by name."},
    {"respond",     "respond of a route", "A fixed answer given by Ladle itself."},
    {"log",         "[log]",             "Where the logs go."},
    {"access",      "access of [log]",   "One line for each request."},
    {"error",       "error of [log]",    "What went wrong, and what the processes do."},
});

constexpr std::array kSettings = std::to_array<Setting>({
    {"", "include",  Type::texts, "", "", "files to read as well; * matches within a folder; relative to this file"},
    {"", "server",   Type::table, "", "server", "the process"},
    {"", "listen",   Type::named, "", "listen", "addresses to listen on, by name"},
    {"", "trust",    Type::table, "", "trust", "proxies in front of this one"},
    {"", "timeouts", Type::table, "", "timeouts", "how long to wait"},
    {"", "budget",   Type::table, "", "budget", "memory and disk for bodies under way"},
    {"", "cache",    Type::table, "", "cache", "the cache's memory"},
    {"", "mirror",   Type::table, "", "mirror", "limits of copies of requests"},
    {"", "tls",      Type::table, "", "tls", "TLS with clients"},
    {"", "defence",  Type::table, "", "defence", "limits"},
    {"", "headers",  Type::table, "", "headers", "headers to set or to leave out"},
    {"", "upstream", Type::named, "", "upstream", "groups of servers, by name"},
    {"", "site",     Type::named, "", "site", "sites, by host name"},
    {"", "log",      Type::table, "", "log", "logs"},

    {"server", "workers", Type::integer, "auto", "1..28", "worker processes; \"auto\" is one for each core", kServer,
        "the table of processes holds two generations of workers", "auto"},
    {"server", "user", Type::text, "ladle", "", "the user that workers become; only used by a master that is root"},
    {"server", "drain_timeout", Type::duration, "30s", "0s..1d", "how long requests under way may take when a worker stops"},
    {"server", "worker_hang_timeout", Type::duration, "10s", "1s..1h", "a worker without a heartbeat for so long is replaced", kServer,
        "a worker beats every 100 ms, and a full core or a slow disk may hold it up for longer"},
    {"server", "admin", Type::path, "/run/ladle/control.sock", "", "the Unix socket through which the commands find the running master"},
    {"server", "state", Type::path, "/var/lib/ladle", "", "a folder for what outlives the service: the key of sticky cookies"},
    {"server", "resolvers", Type::texts, "", "", "DNS servers to ask for the names of servers: \"10.0.0.53\", \"127.0.0.1:5353\"; default: those of "
                                                "/etc/resolv.conf"},
    {"server", "country_database", Type::path, "", "", "a MaxMind DB file with countries (GeoLite2-Country.mmdb and its like), for routes with country; read again by ladle reload"},
    {"server", "error_pages", Type::path, "", "", "a folder of 404.html, 5xx.html, error.html …; {status} {reason} {request_id} are filled in; "
                                                  "default: a built-in page",
        kServer | kSite},

    {"listen", "bind", Type::texts, "", "", "addresses: \"0.0.0.0:80\", \"[::]:80\", \"unix:/run/ladle/web.sock\""},

    {"listen", "protocols", Type::texts, "", "", "what clients may speak: \"h2\", \"h1\", or a list; without TLS a client speaks HTTP/2 by saying so (prior knowledge); "
                                                "default: both"},
    {"listen", "tls", Type::boolean, "false", "", "true: clients speak TLS here; as an address, \"https://0.0.0.0:443\" says the same"},
    {"listen", "proxy_protocol", Type::table, "", "proxy_protocol", "proxies before this one that tell who the client is with a PROXY header (version 1 or 2), before TLS as well", kServer, "", "from"},

    {"proxy_protocol", "from", Type::texts, "", "", "address ranges of those proxies, or \"unix:\" for whoever comes over a Unix socket; they have to send it, what others send is no header"},

    {"trust", "forwarded_from", Type::texts, "", "", "address ranges of proxies whose Forwarded and X-Forwarded-* are believed"},

    {"timeouts", "header", Type::duration, "10s", "1ms..1h", "for a whole request head to arrive", kServer, kWhyTimeout},
    {"timeouts", "handshake", Type::duration, "10s", "1ms..1h", "for a client's TLS handshake", kServer, kWhyTimeout},
    {"timeouts", "idle", Type::duration, "60s", "1ms..1d", "between the requests of a client's connection", kEverywhere, kWhyTimeout},
    {"timeouts", "connect", Type::duration, "3s", "1ms..1h", "to connect to a server", kEverywhere, kWhyTimeout},
    {"timeouts", "response", Type::duration, "30s", "1ms..1d", "from a request's last byte to the first of its response", kEverywhere, kWhyTimeout},
    {"timeouts", "stall", Type::duration, "30s", "1ms..1d", "without progress in either direction while some is due", kEverywhere, kWhyTimeout},
    {"timeouts", "tunnel", Type::duration, "1h", "1ms..30d", "silence allowed to a WebSocket or an event stream", kEverywhere, kWhyTimeout},

    {"budget", "spool_memory", Type::size, "256MiB", "1MiB..1024GiB", "memory for bodies that wait for a slower peer", kServer,
        "every connection under way needs some"},
    {"budget", "spool_disk", Type::size, "8GiB", "0B..1048576GiB", "disk for what does not fit there; 0B keeps everything in memory"},
    {"budget", "per_client", Type::size, "64MiB", "64KiB..1024GiB", "what one client address may occupy of both", kServer,
        "a client needs one read's worth"},
    {"budget", "requests", Type::size, "512MiB", "1MiB..1024GiB", "memory for the HTTP/2 requests in work, beside their bodies: past it each connection has one at a time"},
    {"budget", "requests_per_client", Type::size, "64MiB", "64KiB..1024GiB", "what those of one client address may hold of it: 2000 in work, four times as many that wait for their "
                                                                            "server's next message; those of [trust] proxies are not counted so"},
    {"budget", "spool_path", Type::path, "/var/cache/ladle/spool", "", "the folder of the spool's (unlinked) files"},

    {"cache", "memory", Type::size, "256MiB", "0B..256GiB", "for responses and their index, all workers together, used as it fills; 0B is no cache"},
    {"cache", "files", Type::path, "auto", "", "where larger bodies lie, which count as memory: a folder on tmpfs; auto is a tmpfs of Ladle's own, or /dev/shm where it may not mount"},
    {"cache", "object", Type::table, "", "cache_object", "one response's body", kServer, "", "max"},
    {"cache", "uncacheable_for", Type::duration, "60s", "0s..1d", "how long requests for what could not be kept go to the server without waiting for each other"},
    {"cache", "wait", Type::duration, "5s", "0s..1h", "how long a request waits for another's fetch of the same before it asks the server itself"},
    {"cache", "disk", Type::table, "", "cache_disk", "the disk tier", kServer, "", "size"},

    {"cache_object", "max", Type::size, "1GiB", "0B..256GiB", "larger bodies are not kept; nor, but on disk, those of more than a quarter of the memory, or of 1GiB of it"},
    {"cache_object", "inline", Type::size, "48KiB", "0B..4MiB", "bodies up to here lie beside the index, larger ones in files of their own", kServer,
        "larger pieces are hard to place"},
    {"cache_object", "finish", Type::size, "16MiB", "0B..256GiB", "a fetch that nobody waits for any more goes on if no more than this is missing; one for the disk alone goes on by so much"},

    {"mirror", "requests", Type::integer, "256", "1..100000", "copies in work at once; further ones are left out", kServer, "each holds memory of its own"},
    {"mirror", "bodies", Type::size, "16MiB", "0B..64GiB", "what the bodies of those may hold together; a copy whose body does not fit is left out, as is one whose body is passed on as it comes or lies on disk"},
    {"mirror", "answer", Type::size, "1MiB", "0B..1GiB", "how much of an answer's body is read and dropped; where there is more its connection is closed"},
    {"mirror", "timeout", Type::duration, "10s", "100ms..1h", "how long one copy may take, to the last byte of its answer", kServer, "one that hangs takes the place of others"},

    {"tls", "policy", Type::choice, "intermediate", "intermediate|modern", "Mozilla's recommendations: intermediate is TLS 1.2 and 1.3; modern is 1.3 alone"},
    {"tls", "min_version", Type::choice, "1.2", "1.2|1.3", "the oldest version of TLS that is spoken"},
    {"tls", "tickets", Type::duration, "12h", "1m..3d", "how long a key makes tickets, with which clients come back without a full handshake; old ones are taken "
                                                     "for as long again",
        kServer, "a stolen key opens what was sent under it"},
    {"tls", "ticket_keys", Type::texts, "", "", "\"file:/etc/ladle/tickets.key\": 80 random bytes, the same on several machines; or a list, of which the first one makes tickets and the others "
                                              "open them; default: keys of this machine's own"},
    {"tls", "watch", Type::boolean, "false", "", "true: certificates and keys that are replaced on disk are taken within seconds, without a reload"},
    {"tls", "ocsp", Type::boolean, "true", "", "clients are shown that certificates are not revoked, where their CA has a responder that says so (OCSP stapling)"},
    {"tls", "early_data", Type::boolean, "false", "", "true: a client that comes back may send requests with its first message (TLS 1.3, 0-RTT). Whoever recorded it may replay it: only GET, HEAD and OPTIONS without "
                                                    "a body are served then, servers are told by \"Early-Data: 1\", everything else waits for the end of the handshake",
        kServer, "it is safe only where safe methods change nothing"},

    {"tls", "providers", Type::texts, "", "", "OpenSSL's providers of algorithms, by the names of their modules: [\"default\", \"legacy\"]; default: as OpenSSL's own configuration has it. One "
                                           "that is not listed any more stays until a restart"},
    {"tls", "device", Type::table, "", "tls_device", "what keeps private keys that cannot be read"},

    {"tls_device", "engine", Type::text, "pkcs11", "", "the OpenSSL engine that speaks to it (Debian: libengine-pkcs11-openssl)"},
    {"tls_device", "module", Type::path, "", "", "the vendor's PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so; default: the engine's own, which is p11-kit's"},
    {"tls_device", "pin", Type::text, "", "", "\"file:/etc/ladle/pin\", or \"env:NAME\": where its PIN is"},

    {"defence", "request", Type::table, "", "request", "what one request may be"},
    {"defence", "connections", Type::table, "", "connections", "how many clients may be connected"},
    {"defence", "http2", Type::table, "", "http2", "what one HTTP/2 connection may do"},

    {"request", "head", Type::size, "32KiB", "1KiB..1MiB", "bytes of request line and headers; else 431", kServer, "a head is held in memory"},
    {"request", "headers", Type::integer, "100", "1..10000", "number of headers; else 431", kServer, "a head is held in memory"},
    {"request", "uri", Type::size, "8KiB", "64B..1MiB", "bytes of the request target; else 414", kServer, "it is a part of the head"},
    {"request", "body", Type::size, "100MiB", "0B..1048576GiB", "bytes of a request body, of a gRPC call all messages; else 413"},

    {"connections", "total", Type::integer, "50000", "1..4000000", "clients connected at once; more wait in the kernel's queue", kServer,
        "each needs a file descriptor"},

    {"http2", "streams", Type::integer, "100", "1..1000", "requests at once on one connection, counted until their work is over; more are refused", kServer,
        "each holds memory of its own"},
    {"http2", "glitches", Type::integer, "100", "10..1000000", "early resets, stream errors, odd control frames: at three quarters the client is told to go, at this its "
                                                              "connection is closed"},
    {"http2", "glitches_per_second", Type::integer, "10", "1..1000000", "so many of them are forgiven"},
    {"http2", "resets", Type::integer, "100", "1..1000000", "streams that the client may reset at once; past it the connection is closed"},
    {"http2", "resets_per_second", Type::integer, "20", "1..1000000", "so many more each second"},
    {"http2", "min_rate", Type::integer, "500", "0..1000000000", "bytes per second that a client's windows must let through while something waits for them; 0 is no rule"},
    {"http2", "grace", Type::duration, "10s", "1s..1h", "how long it may be slower", kServer, "it is looked at in such steps"},
    {"http2", "wait", Type::duration, "5s", "0s..1h", "how long a request waits whose client, or all together, hold what [budget] allows to requests; then it is refused (REFUSED_STREAM)"},

    {"upstream", "servers", Type::servers, "", "server_entry", "\"10.0.0.1:8080\", \"app.internal:80\", \"srv:_http._tcp.app.internal\" (SRV records), \"unix:/run/app.sock\", or tables with address, weight, max_conn"},
    {"upstream", "tls", Type::table, "", "upstream_tls", "true: its servers speak TLS, as \"https://10.0.0.1:8443\" among them says too; or how", kServer, "", "on"},
    {"upstream", "protocol", Type::choice, "h1", "h1|h2", "what its servers speak: HTTP/1.1, or HTTP/2 (agreed on over TLS, else by prior knowledge), as gRPC needs it"},
    {"upstream", "balance", Type::table, "", "balance", "which server gets the next request: a method's name, or more about it", kServer, "", "method"},
    {"upstream", "sticky", Type::table, "", "sticky", "a cookie that keeps a client to its server: its name, or a table", kServer, "", "cookie"},
    {"upstream", "proxy_protocol", Type::choice, "off", "off|v1|v2", "its servers are told with a PROXY header who the client is, before TLS as well; a connection then serves one client alone"},
    {"upstream", "weight", Type::integer, "1", "1..1000", "the share of a server that gives none of its own"},
    {"upstream", "max_conn", Type::integer, "0", "0..1000000", "requests in flight to each server, all workers together; 0 is no limit", kServer,
        "0 is no limit"},
    {"upstream", "adaptive", Type::table, "", "adaptive", "true: how many requests each server may have at once finds itself, up to max_conn; or more about that; default: max_conn alone", kServer, "", "on"},
    {"upstream", "health", Type::table, "", "health", "a path that its servers are asked for (\"/healthz\"), or more about that; default: they are not asked", kServer, "", "path"},
    {"upstream", "agent", Type::table, "", "agent", "a port at which an agent of each server says how much it can take (9777), or more about that; default: there is none", kServer, "", "port"},
    {"upstream", "load_report", Type::table, "", "load_report", "\"orca\": responses say in a header how loaded their server is (Open Request Cost Aggregation)", kServer, "", "format"},
    {"upstream", "eject", Type::table, "", "eject", "when failing or slow requests take a server out; 0 is never for failing ones", kServer, "", "failures"},
    {"upstream", "breaker", Type::table, "", "breaker", "true: while too many of its requests fail they are answered 503 at once, and a few find out when that is over; or more about that; default: never", kServer, "", "on"},
    {"upstream", "retry", Type::table, "", "retry", "when a request is sent to another server; 1 is never", kServer, "", "attempts"},
    {"upstream", "hedge", Type::table, "", "hedge", "a request that waits for longer than most is sent to a second server as well: when, or more about it", kServer, "", "at"},
    {"upstream", "slow_start", Type::duration, "0s", "0s..1h", "how long the share of a server that comes back grows, from a tenth to the whole"},
    {"upstream", "panic", Type::boolean, "true", "", "with no server in order all are tried; false: requests are answered 502"},
    {"upstream", "keepalive", Type::table, "", "keepalive", "idle connections"},
    {"upstream", "queue", Type::table, "", "queue", "requests that wait for a server"},

    {"balance", "method", Type::choice, "least_busy", "least_busy|round_robin|random|latency|first|hash", "least_busy: the fewest requests in flight for its weight, those of a much slower server "
        "counting more; round_robin: in turn; random: the less busy of two; latency: of two the one that answers sooner; first: the first that has room; hash: the same for the same key"},
    {"balance", "key", Type::text, "client", "", "of hash: \"client\" (its address, IPv6 by /64), \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"path\" or \"url\" (host, path and query)"},

    {"sticky", "cookie", Type::text, "", "", "the cookie's name; it is made here, and servers are not sent it"},

    {"server_entry", "address", Type::text, "", "", "the server, in the form of a plain entry"},
    {"server_entry", "weight", Type::integer, "1", "1..1000", "its share, relative to the others"},
    {"server_entry", "max_conn", Type::integer, "0", "0..1000000", "requests in flight, all workers together; 0 is no limit", kServer, "0 is no limit"},
    {"server_entry", "backup", Type::boolean, "false", "", "true: used only when no other server of the upstream can be"},

    {"adaptive", "on", Type::boolean, "true", "", "false: max_conn alone; a table without it switches it on"},
    {"adaptive", "min", Type::integer, "4", "1..1000000", "it is never less, except while it is measured what answers take; but max_conn may be", kServer, "with none nothing would ever be learnt"},
    {"adaptive", "tolerance", Type::percent, "25%", "0%..100%", "how much longer than without others answers may take before a server is sent less"},

    {"eject", "failures", Type::integer, "5", "0..10000", "so many in a row: no answer, a bad one, or 502, 503, 504; 0 is never, and one that takes no connections is asked all the same"},
    {"eject", "within", Type::duration, "10s", "1s..1h", "or so many in this time,", kServer, "all workers count together"},
    {"eject", "rate", Type::percent, "50%", "0%..100%", "and at least this part of its requests"},
    {"eject", "for", Type::duration, "30s", "1s..1h", "the first time; then twice, three times … as long, while it goes on", kServer, "in less it would not recover, and more is an outage of our making"},
    {"eject", "longest", Type::duration, "5m", "1s..1h", "but never longer than this"},
    {"eject", "max", Type::percent, "50%", "0%..100%", "the part of the servers that may be out for this, and one in any case; the last one never is"},
    {"eject", "slow", Type::integer, "0", "0..100", "a server is ejected as well whose answers took so many times longer than those of the server in the middle of the others, over `within`; 0 is never; not with hash or sticky"},
    {"eject", "slow_least", Type::duration, "100ms", "1ms..1h", "but none that is quicker than this"},
    {"eject", "slow_requests", Type::integer, "20", "5..50", "and none of which, or of the others, there are fewer answers; of each 64th of `within` one counts"},

    {"breaker", "on", Type::boolean, "true", "", "false: never; a table without it switches it on"},
    {"breaker", "rate", Type::percent, "50%", "1%..100%", "the part of its requests that failed: no answer, a bad one, or 502, 503, 504, after all retries", kServer, "0% would be every request"},
    {"breaker", "requests", Type::integer, "20", "1..1000000", "of so many at least", kServer, "of none nothing can fail"},
    {"breaker", "within", Type::duration, "10s", "1s..1h", "in this time, all workers together", kServer, "all workers count together"},
    {"breaker", "for", Type::duration, "10s", "1s..1h", "how long nothing is sent the first time; then twice as long each time, while it goes on", kServer, "in less nothing would recover, and more is an outage of our making"},
    {"breaker", "longest", Type::duration, "2m", "1s..1h", "but never longer than this"},
    {"breaker", "trials", Type::integer, "3", "1..16", "then so many requests are sent, all workers together: they must all end well, and the first that fails ends it", kServer, "each has a place in shared memory"},

    {"retry", "attempts", Type::integer, "3", "1..10", "servers that one request is sent to at most, the first included", kServer, "each costs the others time"},
    {"retry", "on", Type::statuses, "", "", "\"connect\": no connection; \"reset\": it ended before an answer; 502, 503, 504 or another 5xx: that answer. The last two only for "
                                      "methods that may be repeated (GET, HEAD, OPTIONS, PUT, DELETE, TRACE); default: all five"},
    {"retry", "budget", Type::percent, "20%", "0%..100%", "of the upstream's requests that may be sent again, all workers together, and ten in ten seconds in any case; requests that were not sent do not count"},
    {"retry", "per_try", Type::duration, "0s", "0s..1h", "how long one server may take to answer before another one is asked; 0s is timeouts.response, and then none is"},

    {"hedge", "at", Type::choice, "off", "off|p50|p75|p90|p95|p98|p99", "p95: once 95% of the upstream's latest responses have come sooner; for safe methods (GET, HEAD, OPTIONS, TRACE), with the body kept"},
    {"hedge", "budget", Type::percent, "5%", "0%..100%", "of all that is sent to the upstream, what may be sent for the second time, all workers together: no more, however slow all are"},
    {"hedge", "soonest", Type::duration, "10ms", "1ms..1h", "never before, however quick most responses are", kServer, "in less nothing is known of a server that is about to answer"},

    {"upstream_tls", "on", Type::boolean, "true", "", "false: they speak plain HTTP; a table without it switches TLS on"},
    {"upstream_tls", "sni", Type::text, "", "", "the name to ask for, and to find in the certificate; default: the server's own name or address"},
    {"upstream_tls", "ca", Type::path, "", "", "PEM of the CAs that are believed; default: those of the system (/etc/ssl/certs/ca-certificates.crt)"},
    {"upstream_tls", "cert", Type::path, "", "", "a PEM file: the certificate that is shown to servers that ask for one"},
    {"upstream_tls", "key", Type::text, "", "", "\"file:/etc/ladle/proxy.key\": its private key, or \"pkcs11:token=…;object=…\", one in [tls.device]; default: the file of the certificate"},
    {"upstream_tls", "insecure", Type::boolean, "false", "", "true: whoever answers is believed to be the server"},

    {"keepalive", "idle", Type::integer, "64", "0..100000", "idle connections kept to each server by each worker; 0 keeps none"},
    {"keepalive", "timeout", Type::duration, "60s", "1ms..1d", "how long an idle connection is kept; less than the server's own time is best", kServer,
        kWhyTimeout},

    {"queue", "size", Type::integer, "500", "0..1000000", "requests that may wait, in each worker; 0 answers 503 at once"},
    {"queue", "timeout", Type::duration, "2s", "1ms..1h", "how long one may wait before its 503", kServer, kWhyTimeout},

    {"site", "aliases", Type::texts, "", "", "further host names, served like the name", kSite},
    {"site", "listen", Type::texts, "", "", "\"http://127.0.0.1:8080\", a list, or the name of a [listen.NAME]; default: port 80 of every address, and 443 where the site has tls", kSite},
    {"site", "tls", Type::table, "", "site_tls", "the certificate: { cert = \"/etc/ladle/www.pem\", key = \"file:/etc/ladle/www.key\" }", kSite},
    {"site", "upstream", Type::text, "", "", "the name of an [upstream.NAME], or the URL of one server: \"http://127.0.0.1:3000\"", kSiteRoute},
    {"site", "body", Type::size, "", "0B..1048576GiB", "bytes of a request body; default: [defence.request] body", kSiteRoute},
    {"site", "timeouts", Type::table, "", "timeouts", "this site's own", kEverywhere},
    {"site", "buffer", Type::table, "", "buffer", "what is taken whole", kSiteRoute},
    {"site", "cache", Type::table, "", "route_cache", "true, or how responses are kept", kSiteRoute, "", "on"},
    {"site", "mirror", Type::table, "", "route_mirror", "a second upstream that is sent copies of requests: its name or URL, or a table", kSiteRoute, "", "to"},
    {"site", "headers", Type::table, "", "headers", "this site's own, name by name", kEverywhere},
    {"site", "error_pages", Type::path, "", "", "a folder of error pages, instead of [server] error_pages", kServer | kSite},
    {"site", "route", Type::tables, "", "route", "in file order", kSite},

    {"site_tls", "cert", Type::texts, "", "", "a PEM file: the certificate, then those that lead to its CA; or a list, of different kinds of key", kSite},
    {"site_tls", "key", Type::texts, "", "", "\"file:/etc/ladle/www.key\": the private key as PEM, without a password; \"env:NAME\", \"credential:NAME\" (systemd's LoadCredential=); "
                                            "\"pkcs11:token=…;object=…\": one in [tls.device]; a list goes with the list of certificates; "
                                           "default: the file of the certificate",
        kSite},
    {"site_tls", "policy", Type::choice, "intermediate", "intermediate|modern", "as in [tls]", kServer | kSite},
    {"site_tls", "min_version", Type::choice, "1.2", "1.2|1.3", "as in [tls]", kServer | kSite},
    {"site_tls", "ocsp", Type::boolean, "true", "", "as in [tls]", kServer | kSite},
    {"site_tls", "early_data", Type::boolean, "false", "", "as in [tls]; not where clients show certificates", kServer | kSite},
    {"site_tls", "redirect", Type::boolean, "true", "", "requests over plain HTTP are answered with 308 to https://", kSite},
    {"site_tls", "hsts", Type::duration, "0s", "0s..3650d", "Strict-Transport-Security: browsers use nothing but TLS for so long, \"365d\" for example", kSite},

    {"site_tls", "client", Type::table, "", "client_certificates", "the file of CAs whose certificates clients must show, or more about that", kSite, "", "ca"},

    {"client_certificates", "ca", Type::path, "", "", "PEM of the CAs that are believed", kSite},
    {"client_certificates", "required", Type::boolean, "true", "", "false: a client may show none; a bad one is refused all the same", kSite},
    {"client_certificates", "crl", Type::path, "", "", "PEM of the CAs' revocation lists", kSite},
    {"client_certificates", "header", Type::text, "X-Client-Subject", "", "the request header that tells servers the certificate's subject; what clients send under this name "
                                                                        "is removed",
        kSite},

    {"route", "name", Type::text, "", "", "for logs and metrics; default: made from the match", kRoute},
    {"route", "path", Type::text, "", "", "\"/static/*\": * is any characters; without one, the whole path", kRoute},
    {"route", "path_regex", Type::text, "", "", "an RE2 expression for the whole path", kRoute},
    {"route", "method", Type::texts, "", "", "\"GET\", or a list", kRoute},
    {"route", "header", Type::pairs, "", "", "{ X-Version = \"2*\" }: the header's value; \"*\" = it is there", kRoute},
    {"route", "query", Type::pairs, "", "", "{ page = \"1\" }: an argument's value; \"*\" = it is there", kRoute},
    {"route", "cookie", Type::pairs, "", "", "{ beta = \"on*\" }: a cookie's value; \"*\" = it is there", kRoute},
    {"route", "content_type", Type::texts, "", "", "the type of the request's body without its parameters: \"multipart/*\", or a list", kRoute},
    {"route", "accept", Type::texts, "", "", "types that the client asks for by name: \"text/html\", \"text/*\" for any text; \"*/*\" from a client asks for nothing, and q=0 refuses", kRoute},
    {"route", "type", Type::texts, "", "", "what the path's extension says: \"image\", \"audio\" (or \"sound\"), \"video\", \"font\", \"script\", \"style\"", kRoute},
    {"route", "scheme", Type::choice, "", "http|https", "how the client came, or a trusted proxy says it did", kRoute},
    {"route", "client", Type::texts, "", "", "address ranges of clients: \"10.0.0.0/8\", behind trusted proxies the client that they name", kRoute},
    {"route", "country", Type::texts, "", "", "the client's country by [server] country_database: \"DE\", or a list", kRoute},
    {"route", "host", Type::texts, "", "", "some of the site's host names", kRoute},
    {"route", "upstream", Type::text, "", "", "as in the site", kSiteRoute},
    {"route", "split", Type::weights, "", "0..1000000", "{ api = 95, canary = 5 }: upstreams with their shares, in place of upstream; a client stays with one", kRoute},
    {"route", "split_by", Type::text, "client", "", "by what a client is told apart: \"client\" (its address, IPv6 by /64), \"cookie:NAME\", \"header:NAME\"", kRoute},
    {"route", "strip", Type::text, "", "", "\"/v2\": taken off the front of the path that the server gets", kRoute},
    {"route", "rewrite", Type::table, "", "rewrite", "another path for the server: { regex = \"/old/(.*)\", to = \"/new/$1\" }", kRoute},
    {"route", "redirect", Type::table, "", "redirect", "clients are sent elsewhere: { to = \"https://example.com$0\", status = 308 }", kRoute, "", "to"},
    {"route", "headers", Type::table, "", "headers", "this route's own, name by name", kEverywhere},
    {"route", "respond", Type::table, "", "respond", "a fixed answer instead of an upstream", kRoute, "", "status"},
    {"route", "body", Type::size, "", "0B..1048576GiB", "as in the site", kSiteRoute},
    {"route", "timeouts", Type::table, "", "timeouts", "this route's own", kEverywhere},
    {"route", "buffer", Type::table, "", "buffer", "what is taken whole", kSiteRoute},
    {"route", "cache", Type::table, "", "route_cache", "as in the site", kSiteRoute, "", "on"},
    {"route", "mirror", Type::table, "", "route_mirror", "as in the site", kSiteRoute, "", "to"},

    {"buffer", "request", Type::choice, "full", "full|stream", "full: the server is occupied once the body is here; stream: at once", kSiteRoute},
    {"buffer", "response", Type::choice, "spool", "spool|stream", "spool: the server is free as soon as it has answered; stream: it waits for the client",
        kSiteRoute},

    {"route_cache", "on", Type::boolean, "true", "", "false: neither kept nor answered from the cache; a table without it switches the cache on", kSiteRoute},
    {"route_cache", "ttl", Type::duration, "", "0s..3650d", "takes the place of the lifetime that a good response gives itself; not of what forbids keeping it", kSiteRoute},
    {"route_cache", "default_ttl", Type::duration, "", "0s..3650d", "for a good response that says nothing and has no Last-Modified", kSiteRoute},
    {"route_cache", "stale_while_revalidate", Type::duration, "", "0s..3650d", "how long after its end a response is still used while a new one is fetched; default: what "
                                                                              "it says itself",
        kSiteRoute},
    {"route_cache", "stale_if_error", Type::duration, "", "0s..3650d", "how long after its end it is used instead of a server's error; default: what it says itself", kSiteRoute},
    {"route_cache", "stale_if_unreachable", Type::duration, "1d", "0s..3650d", "how long after its end it is used when no server answers at all", kSiteRoute},
    {"route_cache", "stale_on_error", Type::boolean, "true", "", "false: never in place of an error, whatever the response allows", kSiteRoute},
    {"route_cache", "lax_s_maxage", Type::boolean, "false", "", "true: stale-while-revalidate counts beside s-maxage too, which RFC 9111 rules out", kSiteRoute},
    {"route_cache", "heuristic", Type::percent, "10%", "0%..100%", "of a response's age when it says nothing else: how long it is good; 0% is never", kSiteRoute},
    {"route_cache", "heuristic_max", Type::duration, "1d", "0s..3650d", "but no longer than this", kSiteRoute},
    {"route_cache", "negative", Type::pairs, "", "", "{ 404 = \"10s\", 5xx = \"1s\", 400-403 = \"5s\" }: how long an error is kept that does not say it itself; the narrowest "
                                                   "range counts; default: 404 and 410 for 10s",
        kSiteRoute},
    {"route_cache", "key", Type::texts, "", "", "what tells two responses apart: \"scheme\", \"host\", \"path\", \"query\", \"query:NAMES\", \"query:!NAMES\", "
                                              "\"query:sorted\", \"header:NAME\", \"cookie:NAME\"; default: the URL",
        kSiteRoute},
    {"route_cache", "bypass", Type::texts, "", "", "requests that go past the cache: \"cookie:session\", \"header:X-No-Cache=1*\", \"query:preview\"; those with X-Original-URL, X-Rewrite-URL, X-HTTP-Method-Override, X-HTTP-Method or X-Method-Override always do, unless it is in the key", kSiteRoute},
    {"route_cache", "min_uses", Type::integer, "1", "1..255", "kept from this request for it on", kSiteRoute, "counts are kept in one byte"},
    {"route_cache", "methods", Type::texts, "", "", "\"GET\", \"HEAD\", \"POST\"; default: all three, POST only where the response gives it a URL", kSiteRoute},
    {"route_cache", "tags", Type::texts, "", "", "response headers whose words are tags for ladle purge; default: Surrogate-Key and Cache-Tag", kSiteRoute},
    {"route_cache", "vary", Type::boolean, "true", "", "false: one response for all, whatever its Vary says", kSiteRoute},
    {"route_cache", "max", Type::size, "", "0B..256GiB", "larger bodies are not kept; default: [cache.object] max", kSiteRoute},
    {"route_cache", "cookies", Type::choice, "if_explicit", "if_explicit|never|ignore", "a response with Set-Cookie is kept only if it says for how long; never; or without "
                                                                                       "that header",
        kSiteRoute},
    {"route_cache", "client_directives", Type::boolean, "true", "", "false: a client's Cache-Control is not obeyed", kSiteRoute},
    {"route_cache", "purge", Type::texts, "", "", "address ranges from which the method PURGE is taken; default: 127.0.0.0/8 and ::1", kSiteRoute},
    {"route_cache", "status_header", Type::boolean, "true", "", "whether clients are sent Cache-Status", kSiteRoute},

    {"cache_disk", "size", Type::size, "0B", "0B..65536GiB", "of all files together; 0B is no disk tier", kServer,
        "the index in memory takes up to 16 MiB for each GiB of it, as it fills"},
    {"cache_disk", "path", Type::path, "/var/cache/ladle/objects", "", "a folder for Ladle alone, made if it is not there; what else lies in it may be removed"},
    {"cache_disk", "second_sight", Type::boolean, "true", "", "only what is asked for a second time is written; false: everything that is kept"},

    {"route_mirror", "to", Type::text, "", "", "the name of an [upstream.NAME], or the URL of one server; not where the requests themselves go", kSiteRoute},
    {"route_mirror", "share", Type::percent, "100%", "0%..100%", "of the requests that go to a server, drawn for each; answers from the cache are not copied", kSiteRoute},

    {"rewrite", "regex", Type::text, "", "", "an RE2 expression for the whole path; one that does not match leaves it as it is; default: path_regex", kRoute},
    {"rewrite", "to", Type::text, "", "", "the new path, with $1; the query is kept, behind one that stands here, or dropped where this ends in \"?\"", kRoute},

    {"redirect", "to", Type::text, "", "", "a path, or a URL whose host is fixed, with $0 and the groups of path_regex; the query is kept as in rewrite", kRoute},
    {"redirect", "status", Type::integer, "308", "301..308", "301, 302, 303, 307 or 308", kRoute, "these are the redirects"},

    {"headers", "request_set", Type::pairs, "", "", "{ X-Env = \"prod\" }: what servers get in place of any such header; \"unset\" drops an inherited one", kEverywhere},
    {"headers", "request_remove", Type::texts, "", "", "headers that servers do not get", kEverywhere},
    {"headers", "response_set", Type::pairs, "", "", "{ X-Frame-Options = \"DENY\" }: what clients get, also with errors and from the cache, which keeps answers without it", kEverywhere},
    {"headers", "response_remove", Type::texts, "", "", "headers that clients do not get", kEverywhere},

    {"respond", "status", Type::integer, "200", "200..599", "the status code", kRoute, "a final answer has no other"},
    {"respond", "body", Type::text, "", "", "the body", kRoute},
    {"respond", "content_type", Type::text, "text/plain; charset=utf-8", "", "the body's type", kRoute},

    {"health", "kind", Type::choice, "http", "http|tcp|grpc", "an HTTP request; a connection alone (and TLS, where the servers speak it); or the method Check of grpc.health.v1.Health, which needs protocol = \"h2\""},
    {"health", "path", Type::text, "/", "", "what is asked for"},
    {"health", "method", Type::choice, "GET", "GET|HEAD|OPTIONS", "how it is asked for"},
    {"health", "host", Type::text, "", "", "the host that is asked for; default: the server's address"},
    {"health", "service", Type::text, "", "", "of grpc: the service that is asked about; default: the server as a whole"},
    {"health", "port", Type::integer, "0", "0..65535", "where it is asked for, of a server on a Unix socket at 127.0.0.1; 0 is the server's own port", kServer, "it is a port"},
    {"health", "expect", Type::statuses, "", "", "the statuses that are good: 204, \"2xx\", \"200-399\", or a list; default: \"200-399\""},
    {"health", "body", Type::text, "", "", "what the answer must contain, in its first 64 KiB"},
    {"health", "interval", Type::duration, "5s", "100ms..1h", "from one question to the next, give or take a tenth", kServer, "more often is load, less often is too late"},
    {"health", "timeout", Type::duration, "2s", "100ms..1m", "for the whole answer", kServer, "a server that is slower than this is no help"},
    {"health", "rise", Type::integer, "2", "1..100", "good answers in a row that bring a server back"},
    {"health", "fall", Type::integer, "3", "1..100", "bad answers in a row that take it out"},

    {"agent", "port", Type::integer, "0", "0..65535", "where the agent of each server listens, of one on a Unix socket at 127.0.0.1; 0, with a path, is the server's own port", kServer, "it is a port"},
    {"agent", "path", Type::text, "", "", "what it is asked for over HTTP, as the server's requests are: the first line of the body counts; default: a line over plain TCP"},
    {"agent", "host", Type::text, "", "", "the host that is asked for; default: the server's address"},
    {"agent", "send", Type::text, "", "", "what is said first over TCP, \"{upstream}/{server}\\n\" to one agent for many; default: nothing"},
    {"agent", "interval", Type::duration, "5s", "100ms..1h", "from one question to the next, give or take a tenth", kServer, "more often is load, less often is too late"},
    {"agent", "timeout", Type::duration, "2s", "100ms..1m", "for the whole answer; without one nothing changes", kServer, "an agent that is slower than this says what was"},

    {"load_report", "format", Type::choice, "orca", "orca", "the header endpoint-load-metrics, as TEXT, JSON or BIN: application_utilization, or cpu_utilization, and rps_fractional; clients do not get it"},
    {"load_report", "penalty", Type::percent, "100%", "0%..100%", "how much the part of requests that fail (eps) counts as utilisation"},
    {"load_report", "blackout", Type::duration, "10s", "0s..1h", "so long after a server has come, or come back, its reports do not count yet"},
    {"load_report", "expire", Type::duration, "3m", "1s..1h", "a server that has reported nothing for so long has its configured weight", kServer, "weights are made anew once a second"},

    {"log", "access", Type::table, "", "access", "the access log", kServer, "", "to"},
    {"log", "error", Type::table, "", "error", "the error log", kServer, "", "to"},

    {"access", "to", Type::text, "/var/log/ladle/access.log", "", "a file, \"stderr\" or \"off\""},
    {"access", "format", Type::choice, "combined", "combined|json", "combined: as Apache writes it, with times and names behind; json: one object a line"},

    {"error", "to", Type::text, "stderr", "", "a file, \"stderr\", \"journal\" (systemd's, which takes a service's stderr: the same as \"stderr\") or "
                                            "\"off\""},
    {"error", "level", Type::choice, "info", "debug|info|warning|error", "what is written: this and what is graver"},
});
// clang-format on

std::uint64_t number_of(Type type, std::string_view text)
{
    if (type == Type::duration) {
        return parse_duration(text).value_or(0);
    }
    if (type == Type::size) {
        return parse_size(text).value_or(0);
    }
    if (type == Type::percent) {
        return parse_percent(text).value_or(0);
    }
    if (type == Type::boolean) {
        return text == "true" ? 1 : 0;
    }
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

} // namespace

std::span<const Setting> all_settings()
{
    return kSettings;
}

std::span<const Schema> all_schemas()
{
    return kSchemas;
}

const Setting* find_setting(std::string_view schema, std::string_view key)
{
    for (const Setting& setting : kSettings) {
        if (setting.schema == schema && setting.key == key) {
            return &setting;
        }
    }
    return nullptr;
}

std::vector<const Setting*> settings_of(std::string_view schema)
{
    std::vector<const Setting*> out;
    for (const Setting& setting : kSettings) {
        if (setting.schema == schema) {
            out.push_back(&setting);
        }
    }
    return out;
}

const Schema* find_schema(std::string_view name)
{
    for (const Schema& schema : kSchemas) {
        if (schema.name == name) {
            return &schema;
        }
    }
    return nullptr;
}

std::vector<std::string_view> split_choices(std::string_view range)
{
    std::vector<std::string_view> out;
    while (!range.empty()) {
        const std::size_t bar = std::min(range.find('|'), range.size());
        out.push_back(range.substr(0, bar));
        range.remove_prefix(std::min(bar + 1, range.size()));
    }
    return out;
}

Bounds bounds_of(const Setting& setting)
{
    const bool is_number = setting.type == Type::integer || setting.type == Type::duration || setting.type == Type::size ||
                           setting.type == Type::percent || setting.type == Type::weights;
    const std::size_t dots = setting.range.find("..");
    if (!is_number || dots == std::string_view::npos) {
        return {};
    }
    return {number_of(setting.type, setting.range.substr(0, dots)), number_of(setting.type, setting.range.substr(dots + 2))};
}

std::uint64_t fallback_number(const Setting& setting)
{
    if (setting.type == Type::choice) {
        const std::vector<std::string_view> choices = split_choices(setting.range);
        for (std::size_t at = 0; at < choices.size(); ++at) {
            if (choices[at] == setting.fallback) {
                return at;
            }
        }
    }
    return number_of(setting.type, setting.fallback);
}

} // namespace ladle::config
