// SPDX-License-Identifier: Apache-2.0
//
// Turn: one request's turn with one server: the hold on it (in flight), the server's stream, the body being received. Made by
// ask_servers, used up by deliver or tunnel. A stream that is not handed back with release() is given up with the turn: its
// connection is never reused by accident.
#pragma once

#include "worker/net/body_reader.h"
#include "worker/upstream/server_stream.h"
#include "worker/upstream/upload.h"
#include "worker/upstream/upstream.h"

#include <chrono>
#include <memory>

namespace ladle::worker {

/// Whether a request that failed may be sent again.
enum class Repeat : std::uint8_t {
    never,
    if_idempotent, ///< no byte of an answer had come: nobody knows what the server did (RFC 9110 §9.2.2)
    always,        ///< the server says that it did nothing
};

class Hedge;

struct Turn {
    Upstream* upstream = nullptr;
    std::uint32_t member = 0;
    Lease lease;
    std::unique_ptr<ServerStream> stream;
    std::unique_ptr<Upload> upload; ///< the rest of a request that is answered already; else null
    BodyReader body;              ///< of the response
    Hedge* hedge = nullptr;       ///< may send the request to a second server while this one is waited for; not in deliver
    unsigned interim = 0;         ///< interim responses of the server so far
    std::chrono::milliseconds patience{0}; ///< to answer in, as another server could be asked; 0 = timeouts.response
    loop::Nanos sent = 0;         ///< when the request's last byte was, where answers are timed; 0 = not yet, or not asked
    bool is_reused = false;       ///< the connection had carried a request before
    bool request_complete = false; ///< the whole request was sent: the connection may be kept
    bool may_keep = false;         ///< the response allows it too

    Server& server() const noexcept { return *upstream->members()[member].server; }
    /// Whether pull() may bring something.
    bool may_pull() const noexcept { return stream->may_pull(); }
    /// Takes some of the response's body, up to about `most` bytes.
    BodyReader::Pull pull(Chain& into, std::size_t most) { return stream->pull_body(body, into, most); }
    /// The server is free again: hands the stream back, its connection being kept if both sides allow it, and ends the lease.
    void release()
    {
        upload.reset();
        if (stream) {
            ServerStream& own = *stream;
            own.hand_back(std::move(stream), may_keep && request_complete ? Reuse::yes : Reuse::no, upstream->settings());
        }
        lease.end();
    }
    /// Gives the exchange with the server up.
    void drop()
    {
        upload.reset();
        stream.reset();
        lease.end();
    }
};

} // namespace ladle::worker
