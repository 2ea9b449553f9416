// SPDX-License-Identifier: Apache-2.0
//
// Request: all that the steps of one exchange (exchange.h) know of it, from the received head to the access log. Lives in the frame
// of the session's current exchange; steps fill in their part and read the others'. Views point into blocks held here.
#pragma once

#include "common/config/config.h"
#include "common/http/framing.h"
#include "common/http/head.h"
#include "common/http/target.h"
#include "worker/cache/visit.h"
#include "worker/client/stream.h"
#include "worker/delivery/spool.h"
#include "worker/request/live_config.h"
#include "worker/request/parts.h"
#include "worker/request/reason.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::worker {

/// A fixed answer of our own: an error, or a route's `respond`.
struct Answer {
    std::uint16_t status = 0; ///< 499 = nobody is there to be answered; only logged
    Reason reason = Reason::ok;
    std::uint32_t retry_after_s = 0; ///< when it may be asked again; 0 = nobody knows
};

/// Times of the steps, loop::clock_now(); 0 = not reached.
struct Times {
    loop::Nanos begun = 0;     ///< first byte of the head
    loop::Nanos head = 0;      ///< head complete
    loop::Nanos body = 0;      ///< body taken (or streaming begun)
    loop::Nanos connected = 0; ///< a server connection is at hand
    loop::Nanos response = 0;  ///< the server's response head is complete
    loop::Nanos finished = 0;
};

/// Whose request it is: a client's, a copy of one for a mirror, or a client's for the second time (upstream/hedge.h). The last two
/// are sent once, wait in no queue, and are no client's in any count.
enum class RequestKind : std::uint8_t { client, copy, hedge };

/// Whether a request was sent to a second server while the first had not answered, and whose answer was taken.
enum class Hedged : std::uint8_t { no, lost, won };

struct Request {
    Request(WorkerParts& worker_parts, ClientStream& stream, std::shared_ptr<LiveConfig> live_config,
            RequestKind request_kind = RequestKind::client);
    ~Request();
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    WorkerParts& parts;
    ClientStream& client;
    std::shared_ptr<LiveConfig> live;
    const RequestKind kind;
    Protocol protocol; ///< that it came by; of a copy and a hedge: the request that they repeat
    std::uint32_t listen = 0; ///< index into the configuration's listens

    // receive and admit
    http::RequestHead head;
    BlockRef head_block; ///< keeps what head's views point to
    http::Target target;
    http::Framing framing;
    std::string_view authority; ///< as sent to the server
    std::string host;           ///< lower case, without port
    std::string path;           ///< normalised, for matching
    bool expects_continue = false;
    bool body_has_begun = false;      ///< some of the body came with the head
    bool wants_upgrade = false;       ///< a protocol we may tunnel
    std::string_view upgrade;         ///< its name
    bool client_keeps_alive = true;
    bool is_grpc = false;             ///< a gRPC call: both bodies are passed on as they come, and silence is no fault

    // identify
    bool is_trusted_peer = false;   ///< its Forwarded fields are believed
    std::string client_address;     ///< who the client is: the peer, or what a trusted peer says
    bool is_encrypted = false;      ///< between the client, or a trusted peer, and us
    std::string_view scheme = "http";
    std::string_view forwarded_host; ///< the host that the client asked for, as a trusted peer's Forwarded says; else empty
    std::string id;                 ///< request id, accepted or made
    std::uint32_t client_bucket = 0;

    std::string subject;            ///< of a copy: of the certificate that its client has shown

    bool is_question = false;       ///< of `ladle explain`: there is no connection on which a client could have shown anything

    // route
    const config::Site* site = nullptr;
    const config::Route* route = nullptr;
    /// The route's, or the defaults before a route is known.
    const config::Timeouts& timeouts() const noexcept { return route != nullptr ? route->timeouts : live->config->timeouts; }

    std::string redirect; ///< where the client is sent, by a site that is not served over plain HTTP, or by the route; else empty
    std::uint16_t redirect_status = 308;
    std::string sent_target;    ///< path and query as the server gets them, where the route changes them; else empty
    std::uint32_t upstream = 0; ///< the route's, or that of its split which this client has; index into the configuration's

    // cache
    std::optional<CacheVisit> cache; ///< of a route that caches
    std::string added_fields;        ///< lines that the server is sent beside the client's: validators, the mark of a copy
    bool hides_conditions = false;   ///< the server is not sent the client's conditions and ranges
    bool asks_as_cache = false;      ///< of a hedge: the server is told of a cache that this request knows nothing of

    std::optional<std::uint32_t> sticky_member; ///< of its upstream's servers the one that the client had, by its cookie
    std::string_view sticky_cookie;             ///< what the client is given to come back with, of the LiveConfig; empty = nothing

    // body
    std::optional<Spool> body;       ///< made when the request has a body
    Chain incoming;                  ///< empty: the room that its next bytes are read into, so that small reads share a block
    std::optional<http::ChunkedDecoder> trailers; ///< holds the request's trailers once the body is complete

    // upstream
    std::string_view upstream_name;
    std::string_view server_text;
    std::uint32_t attempts = 0; ///< servers asked, one that was asked twice counting twice
    Hedged hedged = Hedged::no;

    // response
    http::ResponseHead response;
    BlockRef response_block;
    bool response_begun = false; ///< its first byte may have reached the client: no other answer is possible
    std::uint16_t status = 0;
    std::uint32_t retry_after_s = 0; ///< that an answer of our own says; 0 = nothing
    Reason reason = Reason::ok;
    std::uint64_t body_sent = 0; ///< response body bytes handed to the kernel or queued for it
    After after = After::keep;
    Times times;
};

/// "1.0", "1.1" or "2.0": what the client spoke.
std::string_view protocol_version(const Request& request) noexcept;

} // namespace ladle::worker
