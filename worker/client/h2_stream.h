// SPDX-License-Identifier: Apache-2.0
//
// H2Stream: one stream of an HTTP/2 connection: a request, its exchange as a task of its own, and its response. Made by the
// H2Connection when a request's header block begins, destroyed by it once nghttp2 has closed the stream and the exchange is over.
//
//   opened ──head complete──► started (exchange runs) ──► done        destroyed when done (or never started) and closed
//      └────────────── reset by either side, or both ends sent ──► closed
#pragma once

#include "common/loop/task.h"
#include "worker/client/h2_head.h"
#include "worker/client/stream.h"
#include "worker/request/request.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace ladle::worker {

class H2Connection;

class H2Stream final : public ClientStream, public loop::Link {
public:
    H2Stream(H2Connection& connection, std::int32_t number, const ClientStream& peer_of, std::size_t head_bytes);
    ~H2Stream() = default;

    // As the exchange sees it.
    void finish_head(HeadText& text, const HeadEnd& end) override;
    void finish_body(std::string trailers) override;
    bool flush() override;
    std::size_t send_memory(const iovec* vectors, int count) override;
    std::size_t send_file(int file, std::uint64_t offset, std::size_t size) override;
    Readiness ready() const noexcept override;
    BodyReader::Pull pull_body(Chain& into, std::size_t most) override;
    bool has_left() noexcept override { return is_gone; }
    bool pursue_handshake() override { return !is_gone; } // the connection does, as it reads

    // As the connection sees it.
    /// Runs the exchange up to its first wait.
    void start();
    bool is_started() const noexcept { return static_cast<bool>(main_); }
    /// nghttp2 has forgotten the stream.
    void on_closed();
    void on_request_end() noexcept;
    /// Bytes of the response's body at hand.
    std::size_t available() const noexcept { return out.bytes() + borrowed_bytes; }
    /// Whether the last of those is the body's last.
    bool is_whole() const noexcept { return is_ended || available() == left; }

    static constexpr std::uint64_t kUnknown = UINT64_MAX;

    const std::int32_t id;
    H2Head head;
    Chain incoming;                ///< of the request's body, received and not taken
    std::string request_trailers;  ///< lines
    std::string trailers;          ///< lines, of the response
    const iovec* borrowed = nullptr; ///< what send_memory() was given, while it runs
    std::size_t borrowed_at = 0;     ///< bytes of borrowed[0] that are taken
    std::size_t borrowed_bytes = 0;  ///< left of all
    std::uint64_t left = kUnknown;   ///< of the response's body, where its length is known
    bool has_body = false;           ///< the request's head did not end the stream
    bool has_request_ended = false;  ///< the client's END_STREAM has come
    bool is_ended = false;           ///< finish_body() was called, or there is no body
    bool is_end_sent = false;        ///< our END_STREAM is on its way
    bool is_deferred = false;        ///< nghttp2 waits for more of the body
    bool is_pushing = false;         ///< frames are made at this stream's own wish: it needs no news of them
    bool is_done = false;            ///< the exchange is over
    bool is_closed = false;
    bool is_answered = false;        ///< its final head has been sent
    std::size_t received_head = 0;   ///< of the request, as received
    std::size_t weight = 0;          ///< that it counts for in its connection's share
    loop::Nanos waits_since = 0;     ///< for its turn, as those in work hold too much; 0 = it does not
    bool is_wide = false;            ///< the client may send much of the body at once
    std::uint64_t framed = 0;        ///< bytes of its body sent since its rate was looked at
    bool was_blocked = false;        ///< it waited for its client's window then

    bool wants_room() const noexcept { return wants_room_; }
    /// Whether it waits for room to send; asking forgets it.
    bool take_want() noexcept { return std::exchange(wants_room_, false); }

private:
    loop::Task<void> run();
    std::optional<Answer> take_head(Request& request);

    H2Connection& connection_;
    std::uint64_t taken_ = 0;         ///< of the request's body
    bool has_wide_window_ = false;
    mutable bool wants_room_ = false; ///< ready() said no
    loop::Task<void> main_; ///< last: its frames use all of the above
};

} // namespace ladle::worker
