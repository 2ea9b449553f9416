// SPDX-License-Identifier: Apache-2.0
//
// ServerStream: the server's side of one exchange, whatever protocol it speaks: a whole HTTP/1 connection (server_connection.h), or
// one stream of an HTTP/2 connection (h2_server_stream.h). The steps of an exchange, and fills, know nothing but this. Owned by the
// Turn; destroying it gives the exchange up, and hand_back() ends it.
//
// The request: its head is written, as HTTP/1.1, into head_room(), then finish_head(); its body is lined up with send_body() and
// finish_body(); flush() sends what is lined up. The response: receive_head() until the final one is there, each taken with
// take_head(), then pull_body().
#pragma once

#include "common/config/config.h"
#include "common/http/head.h"
#include "common/loop/loop.h"
#include "worker/net/body_reader.h"
#include "worker/net/io.h"
#include "worker/request/chunked_body.h"

#include <cstdint>
#include <memory>
#include <string_view>

namespace ladle::worker {

/// How the body of a request goes to the server: not at all, in the bytes that its length announces, in pieces until its end (in
/// HTTP/1 chunks).
enum class Coding : std::uint8_t { none, plain, chunked };

/// What a look for a response's head has found.
enum class HeadStep : std::uint8_t {
    complete,
    blocked,     ///< wait for news
    refused,     ///< it is malformed: ResponseHead::error, or detail(), says how
    ended,       ///< the server closed before any byte of it
    cut,         ///< the server closed in the middle of it
    unprocessed, ///< the server says that it has done nothing with the request (RFC 9113 §8.7)
};

/// Whether what carried an exchange may carry another one.
enum class Reuse : std::uint8_t { no, yes };

class ServerStream {
public:
    virtual ~ServerStream() = default;
    ServerStream(const ServerStream&) = delete;
    ServerStream& operator=(const ServerStream&) = delete;

    /// Who is told of news from now on; null = nobody (they are still remembered).
    virtual void set_news(loop::Posted* news) noexcept = 0;

    Chain& head_room() noexcept { return head_room_; }
    /// Lines up the head that stands in head_room().
    virtual void finish_head(Coding coding) = 0;
    /// Lines up a part of the body.
    void send_body(Chain&& part)
    {
        if (coding_ == Coding::chunked && !is_framed) {
            append_chunk(out, std::move(part));
        } else {
            out.append(std::move(part));
        }
    }
    /// Lines up the end of the body, with these trailers (lines). Of a tunnel:
    /// the server sees the end once everything is sent.
    virtual void finish_body(std::string trailers = {}) = 0;
    /// Sends what is lined up, as far as the server takes it.
    virtual Io flush() = 0;

    /// Parses what has come of the next head, which stays where it is.
    virtual HeadStep receive_head(http::ResponseHead& head, const http::HeadLimits& limits) = 0;
    /// Done with a complete head of that size; what it was parsed from stays as long as the result is held.
    virtual BlockRef take_head(const http::ResponseHead& head) = 0;
    /// Whether pull_body() may bring something.
    virtual bool may_pull() const noexcept = 0;
    /// Takes some of the response's body, up to about `most` bytes; `body` was begun with its framing.
    virtual BodyReader::Pull pull_body(BodyReader& body, Chain& into, std::size_t most) = 0;
    /// The response's head did not come in time; the exchange will be given up.
    virtual void on_timeout() noexcept {}
    /// The exchange is over: the connection is kept where it may be. `self` is this.
    virtual void hand_back(std::unique_ptr<ServerStream> self, Reuse reuse, const config::Upstream& settings) = 0;

    /// Why a head was refused, where the parser does not say; for the log.
    std::string_view detail() const noexcept { return detail_; }

    Chain out;
    /// The protocol has frames: the server may answer while the request's body is still being sent, and that goes on.
    const bool is_framed;

protected:
    ServerStream() noexcept : is_framed(false), head_room_(out) {}
    /// One of several streams of a connection; heads are composed in `head_room`.
    explicit ServerStream(Chain& head_room) noexcept : is_framed(true), head_room_(head_room) {}

    Coding coding_ = Coding::none;
    std::string_view detail_;

private:
    Chain& head_room_;
};

} // namespace ladle::worker
