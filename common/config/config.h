// SPDX-License-Identifier: Apache-2.0
//
// The configuration as the program uses it: plain values, checked, complete (every default filled in), immutable once built.
// Built by load() (loader.h) in the master, to check a file, and in every worker from the bundle; held there as
// shared_ptr<const Config>, so that a request keeps the configuration that it began with. Nothing here points outside itself.
//
// Names are identity: state in shared memory (in-flight counts, health, metrics) is kept by the names found here.
#pragma once

#include "common/config/country_database.h"
#include "common/config/shared_text.h"
#include "common/http/cache_key.h"
#include "common/http/freshness.h"
#include "common/http/path_change.h"
#include "common/http/proxy_header.h"

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

using Duration = std::chrono::milliseconds;

/// One address to listen on. `text` is canonical ("0.0.0.0:80", "[::]:80", "unix:/run/x.sock") and is the identity of its sockets.
struct BindAddress {
    std::string text;
    sockaddr_storage address{};
    socklen_t address_length = 0;
    bool is_https = false; ///< it was written with "https://"; whether it is, its Listen says

    bool operator==(const BindAddress& other) const { return text == other.text; }
};

/// An address range, from "10.0.0.0/8" or "::1". IPv4 is held as v4-mapped IPv6, so that one comparison serves both.
struct Cidr {
    std::array<std::uint8_t, 16> address{};
    unsigned prefix_bits = 128; ///< 0..128, counted on the mapped form
};

/// [listen.NAME], or one made for a site's `listen = "http://…"`. Sites name it by index.
struct Listen {
    std::string name;
    std::vector<BindAddress> bind;
    bool speaks_h1 = true; ///< `protocols`: one of the two is true
    bool speaks_h2 = true;
    bool is_tls = false; ///< clients speak TLS on it
    std::vector<Cidr> proxy_from; ///< `proxy_protocol`: peers that say with a PROXY header who their client is
    bool proxy_from_unix = false; ///< the same of those on a Unix socket
};

/// [timeouts]; also per site and per route.
struct Timeouts {
    Duration header{10'000};    ///< to receive a whole request head
    Duration idle{60'000};      ///< keep-alive wait between requests
    Duration connect{3'000};    ///< to connect to a server
    Duration response{30'000};  ///< from the request's last byte to the response's first
    Duration stall{30'000};     ///< no byte moved in either direction while some are due
    Duration tunnel{3'600'000}; ///< silence allowed to an upgraded connection or an event stream
    Duration handshake{10'000}; ///< for a client's TLS handshake
};

/// [budget]: ceilings for the whole proxy (all workers together), and for one client address.
struct Budget {
    std::uint64_t spool_memory_bytes = 256ull << 20;
    std::uint64_t spool_disk_bytes = 8ull << 30;
    std::uint64_t per_client_bytes = 64ull << 20;
    std::uint64_t requests_bytes = 512ull << 20;            ///< of HTTP/2 requests, beside their bodies' spools
    std::uint64_t requests_per_client_bytes = 64ull << 20;
    std::string spool_path = "/var/cache/ladle/spool"; ///< folder of unlinked spool files; unusable = memory only, and a warning
};

/// [cache] disk: what was asked for again is kept on disk as well.
struct Disk {
    std::string path = "/var/cache/ladle/objects"; ///< a folder that is Ladle's alone
    std::uint64_t bytes = 0;                       ///< of all files; 0 = no disk tier
    bool second_sight = true;                      ///< false: every response is written, not only what was asked for again
};

/// [cache]: one cache for all workers.
struct Cache {
    std::uint64_t memory_bytes = 256ull << 20; ///< the arena and the files on tmpfs, together; 0 = no cache at all
    std::string files = "auto";                ///< a folder on tmpfs, in which the master makes its own for larger bodies
    std::uint64_t object_bytes = 1ull << 30;   ///< object.max: larger bodies are not stored; a route's `max` overrides it
    std::uint64_t inline_bytes = 48ull << 10;  ///< object.inline: a body up to here lies in the arena; past it sendfile costs less
    /// object.finish: so much may still be due of a body that nobody waits for any more; of one for disk alone: may still come
    std::uint64_t finish_bytes = 16ull << 20;
    Duration uncacheable_for{60'000};          ///< how long a key is remembered as not to be stored
    /// How long a request waits for another's fetch of the same key before it asks the server itself. A fetch that brings nothing
    /// in that time is either for a broken server, which more requests would not mend, or slow by nature; a waiter then has a right
    /// to its own try, well before its client gives up.
    Duration wait{5'000};
    Disk disk;
};

/// [mirror]: what copies of requests for mirrors may take, in each worker.
struct MirrorLimits {
    std::uint32_t requests = 256;            ///< in work at once
    std::uint64_t body_bytes = 16ull << 20;  ///< of the bodies of all of them
    std::uint64_t answer_bytes = 1ull << 20; ///< read of one answer's body, so that its connection may be kept
    Duration timeout{10'000};                ///< of one copy, to the last byte of its answer
};

/// [defence] request: what one request may be.
struct RequestLimits {
    std::uint32_t head_bytes = 32u << 10;    ///< else 431
    std::uint32_t header_count = 100;        ///< else 431
    std::uint32_t uri_bytes = 8u << 10;      ///< else 414
    std::uint64_t body_bytes = 100ull << 20; ///< else 413; a route's `body` overrides it
};

/// [defence] connections.
struct ConnectionLimits {
    std::uint32_t total = 50'000; ///< clients of the whole proxy; a worker at its share stops accepting until one leaves
};

/// [defence] http2: what one HTTP/2 connection may do.
struct Http2Limits {
    std::uint32_t streams = 100; ///< requests in work
    std::uint32_t glitches = 100;
    std::uint32_t glitches_per_s = 10; ///< forgiven
    std::uint32_t resets = 100;        ///< by the client, at once
    std::uint32_t resets_per_s = 20;
    std::uint32_t min_rate_per_s = 500; ///< bytes through a client's windows; 0 = any
    Duration grace{10'000};
    Duration wait{5'000}; ///< of a request whose client has too much in work
};

/// Which server of an upstream gets the next request; in the order of the setting's choices.
enum class Balance : std::uint8_t { least_busy, round_robin, random, latency, first, hash };

/// What `hash` tells requests apart by. One that has none of it goes to the least busy server.
struct HashKey {
    enum class Kind : std::uint8_t { client, header, cookie, query, path, url } kind = Kind::client;
    std::string name; ///< of the header, the cookie or the query argument
};

/// Where a server is. Names, and services with their SRV records (service_name.h), are resolved by the caretaker.
struct UpstreamServer {
    std::string text;          ///< canonical "[::1]:80", "app.internal:80", "srv:_http._tcp.app.internal", "unix:/a": its identity
    std::string host_name;     ///< to resolve; empty = `address` is final
    std::uint16_t port = 0;    ///< of host_name; 0 = that has SRV records, which bring the ports
    bool is_https = false;     ///< it was written with "https://"; whether it is, its Upstream says
    sockaddr_storage address{};
    socklen_t address_length = 0;
    std::uint32_t weight = 1;  ///< 1..1000
    std::uint32_t max_conn = 0; ///< requests in flight, all workers together; 0 = no limit
    bool is_backup = false;    ///< used only when no other server of the upstream can be
    bool is_added = false;     ///< by a command, not by the file
};

/// The first three in the order of the setting's choices; `line` is only for agents: one line of text over plain TCP.
enum class CheckKind : std::uint8_t { http, tcp, grpc, line };

/// `health` of an upstream: what the caretaker asks its servers, and what they must answer. `agent`: what it asks their agents.
struct HealthCheck {
    struct Statuses {
        std::uint16_t first;
        std::uint16_t last;
    };
    CheckKind kind = CheckKind::http;
    std::string path = "/";
    std::string method = "GET";
    std::string host;              ///< of the request; empty = the server's own text
    std::string service;           ///< grpc: what is asked about; empty = the server as a whole
    std::vector<Statuses> expect;  ///< http: the statuses that are good
    std::string body;              ///< http: what the answer's body must contain in its first 64 KiB; empty = anything
    std::string send;              ///< line: what is said first; {upstream} and {server} stand for their names
    std::uint16_t port = 0;        ///< 0 = the server's own
    Duration interval{5'000};
    Duration timeout{2'000};       ///< for all of one question
    std::uint32_t rise = 2;        ///< good answers in a row that bring a server back
    std::uint32_t fall = 3;        ///< bad ones that take it out
    std::uint64_t fingerprint = 0; ///< of all of this and of how the servers are spoken to; never 0: its identity in shared memory
};

/// `eject` of an upstream: when the failures of requests, or their slowness, take a server out.
struct Ejection {
    std::uint32_t failures = 5;   ///< in a row, or `rate` of what was asked; 0 = never
    Duration within{10'000};      ///< the time over which `rate` counts
    std::uint32_t rate = 50;      ///< percent of requests that failed
    Duration time{30'000};        ///< `for`: the first time, then twice, three times … as long
    Duration longest{300'000};
    std::uint32_t share = 50;     ///< `max`: percent of the servers that may be out for this
    std::uint32_t slow = 0;       ///< so many times slower than the others; 0 = never for that
    Duration slow_least{100};     ///< a server that is quicker is never slow
    std::uint32_t slow_requests = 20; ///< answers within `within` before anything is said of a server
};

/// `load_report` of an upstream: its servers say in their responses (ORCA) how loaded they are, and their weights follow.
struct LoadReport {
    std::uint32_t penalty = 100; ///< percent: how much the part of requests that fail counts as utilisation
    Duration blackout{10'000};   ///< so long after a server has come, or come back, what it says does not count yet
    Duration expire{180'000};    ///< a server that has said nothing for so long has its configured weight
};

/// `adaptive` of an upstream: how many requests each server may have at once finds itself.
struct Adaptive {
    std::uint32_t least = 4;      ///< `min`
    std::uint32_t tolerance = 25; ///< percent that answers may take longer than they would alone before less is sent
};

/// `breaker` of an upstream: when nothing is sent to any of its servers for a while.
struct BreakerSettings {
    std::uint32_t rate = 50;     ///< percent of the requests that failed
    std::uint32_t requests = 20; ///< so many at least
    Duration within{10'000};
    Duration time{10'000};       ///< `for`: the first time, then twice as long each time
    Duration longest{120'000};
    std::uint32_t trials = 3;    ///< requests that have to end well
};

/// `retry` of an upstream: when a request is sent to another server.
struct Retry {
    std::uint32_t attempts = 3;   ///< servers that one request may be sent to, the first included
    bool on_connect = true;
    bool on_reset = true;
    std::vector<std::uint16_t> on_status; ///< 500..599
    std::uint32_t budget = 20;    ///< percent of the requests that may be sent again, all workers together
    Duration per_try{0};          ///< to the head of a response, where another server could be asked; 0 = `timeouts.response`
};

/// `hedge` of an upstream: when a request that is not answered is sent to a second server as well.
struct Hedging {
    std::uint32_t percent = 0; ///< of the responses, that come sooner; 0 = never
    std::uint32_t budget = 5;  ///< percent of the requests that may be hedged, all workers together
    Duration soonest{10};
};

/// Whether a setting `key` names a key in a device, instead of a file.
inline bool is_key_in_device(std::string_view key) noexcept
{
    return key.starts_with("pkcs11:") || key.starts_with("engine:");
}

/// A certificate with its private key, both PEM. Read and checked by the master; a worker parses it when a client first asks for
/// it.
struct Certificate {
    SharedText chain; ///< the site's own first, then those that lead to its CA
    SharedText key;
    /// Whether `key` is no PEM but the name of one in a device.
    bool is_in_device() const noexcept { return is_key_in_device(key.text); }
};

/// `tls` of an upstream: its servers are spoken to over TLS.
struct UpstreamTls {
    bool verifies = true;                   ///< false: `insecure`
    SharedText ca;                          ///< PEM of the CAs that are believed; empty where nothing is verified
    std::string sni;                        ///< the name to ask for and to verify; empty = the server's own
    std::optional<Certificate> certificate; ///< ours, for servers that ask for one
    std::string fingerprint;                ///< of all of this
};

/// What the servers of an upstream speak; in the order of the setting's choices.
enum class UpstreamProtocol : std::uint8_t { h1, h2 };

/// [upstream.NAME]. A site's `upstream = "http://127.0.0.1:3000"` makes one whose name is that URL.
struct Upstream {
    std::string name;
    std::vector<UpstreamServer> servers;
    std::vector<std::string> removed; ///< of the file's, that a command took away
    std::optional<UpstreamTls> tls;
    std::optional<http::ProxyVersion> proxy_protocol; ///< each connection begins with a header that says who the client is
    UpstreamProtocol protocol = UpstreamProtocol::h1;
    Balance balance = Balance::least_busy;
    HashKey hash_key;
    std::string sticky_cookie;           ///< its name; empty = clients are not kept to a server
    std::uint32_t keepalive_idle = 64;   ///< idle connections kept per server and worker
    Duration keepalive_timeout{60'000};
    std::uint32_t queue_size = 500;      ///< requests that may wait for a server below max_conn, per worker
    Duration queue_timeout{2'000};
    std::optional<HealthCheck> health;
    std::optional<HealthCheck> agent;    ///< what its servers' agents are asked; rise and fall are not used
    std::optional<LoadReport> load_report;
    std::optional<Adaptive> adaptive;
    Ejection eject;
    std::optional<BreakerSettings> breaker;
    Retry retry;
    Hedging hedge;
    Duration slow_start{0};              ///< how long the share of a server that comes back grows; 0 = it has all of it at once
    bool panics = true;                  ///< with every server out, all are tried
};

enum class RequestBuffering : std::uint8_t { full, stream };
enum class ResponseBuffering : std::uint8_t { spool, stream };

/// A test of one named request header, query argument or cookie.
struct NamedMatch {
    std::string name;
    std::string pattern; ///< glob over the whole value; "*" = present
};

/// What a route matches; every given kind must match, one of the list's members suffices. Empty = any.
struct Match {
    std::string path;       ///< glob over the normalised path ("/static/*"); a pattern without '*' is exact
    std::string path_regex; ///< RE2, whole path
    std::vector<std::string> hosts; ///< exact or "*.example.com"
    std::vector<std::string> methods;
    std::vector<NamedMatch> headers;
    std::vector<NamedMatch> query;
    std::vector<NamedMatch> cookies;
    std::vector<std::string> content_types; ///< globs over the media type of the request's body, in lower case
    std::vector<std::string> accepts;       ///< media types that the client names in Accept, "text/html" or "text/*", in lower case
    std::uint8_t file_kinds = 0;            ///< `type`: a bit per http::FileKind
    std::string scheme;                     ///< "http" or "https"
    std::vector<Cidr> clients;
    std::vector<Country> countries;
};

/// Whether which route a request gets depends on more than its method and URL.
bool looks_beyond_url(const Match& match) noexcept;

/// A request that has this goes past the cache: it is neither answered from it nor is its response stored.
struct Bypass {
    enum class Kind : std::uint8_t { header, cookie, query } kind = Kind::header;
    std::string name;    ///< of a header in lower case
    std::string pattern; ///< glob over the whole value; "*" = present
};

/// `cache` of a site or a route. Immutable and shared, so that the spans in it stay good; not copied for the same reason.
struct RouteCache {
    RouteCache() = default;
    RouteCache(const RouteCache&) = delete;
    RouteCache& operator=(const RouteCache&) = delete;

    http::StoreRules rules;                ///< its `negative` spans `negative` below; stores_post is `methods`
    std::vector<http::StatusTtl> negative; ///< what the setting says; empty = nothing is, unless a response says how long itself
    http::KeyRules key;
    std::vector<Bypass> bypass;            ///< any of them suffices
    std::uint32_t min_uses = 1;            ///< 1..255: stored from the n-th request on
    bool answers_head = true;              ///< `methods`: HEAD is answered from the cache too
    std::vector<std::string> tag_fields{"surrogate-key", "cache-tag"}; ///< in lower case; response fields whose words are tags
    bool vary = true;                      ///< false: Vary is ignored, one response serves all
    bool obeys_request = true;             ///< client_directives: the client's Cache-Control and Pragma count
    std::uint64_t object_bytes = 1ull << 30; ///< `max`: larger bodies are not stored
    bool stale_on_error = true;            ///< http::may_serve_on_error is asked at all
    std::uint32_t disconnected_s = 86'400; ///< stale_if_unreachable: its argument
    std::vector<Cidr> purge_from;          ///< `purge`: clients that may use the method PURGE
    bool shows_status = true;              ///< status_header: clients are sent Cache-Status
};

/// A fixed answer given by Ladle itself.
struct Respond {
    std::uint16_t status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
};

/// Fields that are set, in place of all of that name, and those that are left out.
struct FieldEdits {
    struct Set {
        std::string name;
        std::string value;
    };
    std::vector<Set> set;
    std::vector<std::string> remove;
    std::size_t bytes = 0; ///< of the lines of `set`

    /// Whether a field of this name is left out, or set and so not taken over.
    bool drops(std::string_view name) const noexcept;
};

/// `headers`, merged from the file, the site and the route.
struct HeaderEdits {
    FieldEdits request;
    FieldEdits response; ///< made at delivery: what the cache keeps stays as the server sent it
};

/// One upstream of a `split`.
struct SplitShare {
    std::uint32_t upstream = 0; ///< index into Config::upstreams
    std::uint32_t weight = 0;
};

/// What a client is told apart by, so that it stays with its upstream of a split.
struct SplitKey {
    enum class Kind : std::uint8_t { client, cookie, header } kind = Kind::client;
    std::string name; ///< of the cookie or the header; a request without one counts by its client
};

/// `mirror` of a site or a route: a second upstream, which is sent copies.
struct Mirror {
    std::uint32_t upstream = 0; ///< index into Config::upstreams; never one that the route itself sends to
    std::uint32_t share = 100;  ///< percent of the requests
};

/// Where a site or a route stands in the files.
struct DefinedAt {
    std::uint32_t file = 0; ///< index into Config::files
    std::uint32_t line = 0; ///< 0 = nowhere
};

struct Route {
    DefinedAt at;
    std::string name;  ///< unique in its site; made from the match where none was given; "default" for the site itself
    Match match;
    std::optional<std::uint32_t> upstream; ///< index into Config::upstreams
    std::vector<SplitShare> split;         ///< empty = all go to `upstream`, which else is one of these
    SplitKey split_by;
    std::optional<Mirror> mirror;
    std::optional<Respond> respond;        ///< one of upstream, this and the next is set
    std::shared_ptr<const http::Redirection> redirect;
    std::shared_ptr<const http::PathChange> path_change; ///< null = the server gets the path as it came
    std::shared_ptr<const HeaderEdits> headers;          ///< null = none
    Timeouts timeouts;
    RequestBuffering request_buffering = RequestBuffering::full;
    ResponseBuffering response_buffering = ResponseBuffering::spool;
    std::uint64_t body_bytes = 100ull << 20; ///< largest request body
    std::shared_ptr<const RouteCache> cache; ///< null = not cached
    /// Behind the cache's key of what this route keeps, with the upstream's name: where more than that key chooses between routes,
    /// their answers to one URL may differ.
    std::string cache_mark;
};

/// The pages of one error_pages folder, by status: 404.html is 404, 4xx.html and 5xx.html are 4 and 5, error.html is 0. In a page,
/// {status}, {reason} and {request_id} are to be filled in.
using ErrorPages = std::map<std::uint16_t, std::string>;

/// The page for a status: its own, else that of its class, else error.html; null = the built-in page.
const std::string* find_error_page(const ErrorPages& pages, std::uint16_t status);

/// `client` of a site's tls: clients show certificates.
struct ClientCertificates {
    bool is_required = true;          ///< false: a client may have none, but a bad one is refused
    SharedText ca;                    ///< PEM of the CAs that are believed
    SharedText crl;                   ///< PEM of their revocation lists; empty = none
    std::string header;               ///< in which servers are told the subject
    std::string fingerprint;          ///< of all of this but the header: whoever passed one has passed its equals
};

enum class TlsPolicy : std::uint8_t { intermediate, modern };
enum class TlsVersion : std::uint8_t { tls_1_2, tls_1_3 };

/// `tls` of a site.
struct SiteTls {
    std::vector<Certificate> certificates; ///< of different kinds of key, for clients to have a choice
    TlsVersion min_version = TlsVersion::tls_1_2;
    bool redirects = true;           ///< plain HTTP is answered with 308 to https://
    std::uint16_t https_port = 443;  ///< where that leads
    std::shared_ptr<const ClientCertificates> client; ///< null = none are asked for
    Duration hsts{0};                ///< Strict-Transport-Security for so long; 0 = none
    bool takes_early_data = false;   ///< 0-RTT; never where clients show certificates
    bool staples = true;             ///< `ocsp`: clients are shown that the certificates are not revoked, where their CA says so
};

/// [tls.device]: what keeps the private keys that are named by "pkcs11:…" or "engine:…".
struct KeyDevice {
    std::string engine = "pkcs11"; ///< of OpenSSL
    std::string module;            ///< the library that the engine speaks to; empty = the engine's own choice
    SharedText pin;                ///< the text of its file; empty = none
    std::string pin_variable;      ///< of the environment, which holds the PIN; empty = none
};

/// [tls].
struct Tls {
    Duration tickets{43'200'000}; ///< how long a key encrypts tickets; they are taken for as long again
    std::vector<SharedText> ticket_keys; ///< of files, 80 bytes each: the first one encrypts; empty = keys of our own making
    bool watches = false;                ///< `watch`: certificates and keys that are replaced on disk are taken without a reload
    std::vector<std::string> providers;  ///< of OpenSSL, by name; empty = as its own configuration has it
    KeyDevice device;
};

/// A host name's configuration. routes is never empty; the last one is the site's own default where the site has an upstream.
struct Site {
    DefinedAt at;
    std::string name;                 ///< "example.com", "*.example.com" or "*"
    std::vector<std::string> aliases; ///< same forms; served like the name
    std::vector<std::uint32_t> listens; ///< indices into Config::listens
    std::vector<Route> routes;
    bool marks_keys = false;          ///< some route has a cache_mark
    std::optional<SiteTls> tls;
    std::shared_ptr<const HeaderEdits> headers; ///< where no route matches; null = none
    std::uint32_t error_pages = 0;      ///< index into Config::error_page_sets: the site's own, else [server]'s
};

enum class AccessFormat : std::uint8_t { combined, json };
enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// Where a log goes. The master opens it and hands the descriptor to the workers.
struct LogTarget {
    enum class Kind : std::uint8_t { off, standard_error, file } kind = Kind::off;
    std::string path; ///< of Kind::file
};

struct Log {
    LogTarget access{LogTarget::Kind::file, "/var/log/ladle/access.log"};
    AccessFormat access_format = AccessFormat::combined;
    LogTarget error{LogTarget::Kind::standard_error, {}};
    LogLevel error_level = LogLevel::info;
};

/// [server].
struct Server {
    std::uint32_t workers = 0;              ///< 0 = one per core this process may use; at most kMaxWorkers
    std::string user = "ladle";             ///< only used by a master that is root
    Duration drain_timeout{30'000};
    Duration worker_hang_timeout{10'000};   ///< silent heartbeat before SIGABRT, again as long before SIGKILL
    std::string admin = "/run/ladle/control.sock";
    std::string state = "/var/lib/ladle";   ///< a folder
    std::vector<std::string> resolvers;     ///< DNS servers, "10.0.0.1:53", "[::1]:53"; empty = those of /etc/resolv.conf
};

inline constexpr std::uint32_t kMaxServers = 1024; ///< of all upstreams together: the entries of the shared server table
inline constexpr std::uint32_t kMaxWorkers = 28; ///< two generations and the caretakers fit in shm::kMaxProcesses

struct Config {
    Server server;
    std::vector<Cidr> forwarded_from; ///< [trust]
    Timeouts timeouts; ///< [timeouts]: what counts before a site is known (header, idle); routes carry their own, complete
    Budget budget;
    Cache cache;
    MirrorLimits mirror;
    RequestLimits request_limits;
    ConnectionLimits connection_limits;
    Http2Limits http2_limits;
    Tls tls;
    Log log;
    std::vector<Listen> listens;
    std::vector<Upstream> upstreams;
    std::vector<Site> sites;
    std::shared_ptr<const HeaderEdits> headers; ///< [headers]: where no site is known; null = none
    std::vector<std::string> files; ///< that it was read from
    std::shared_ptr<const CountryDatabase> countries; ///< null where no route asks for a country
    std::vector<ErrorPages> error_page_sets{1}; ///< never empty; [0] is [server]'s, and counts where no site is known
    std::uint64_t generation = 0; ///< counts reloads; set by the master in the bundle's header
};

} // namespace ladle::config
