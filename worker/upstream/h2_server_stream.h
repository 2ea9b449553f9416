// SPDX-License-Identifier: Apache-2.0
//
// H2ServerStream: one stream of an HTTP/2 connection to a server, as the server's side of an exchange. Made by the connection,
// owned by the Turn; the connection knows it until either goes. A response's heads are written as HTTP/1.1 (h2_response_head.h) and
// go through the same parser; what has come of the body waits here, never more than the stream's window.
//
//   opened ──finish_head()──► sent ──► heads ──► body ──► ended        closed: nghttp2 has forgotten it, for whatever reason
#pragma once

#include "common/loop/loop.h"
#include "worker/upstream/h2_response_head.h"
#include "worker/upstream/server_stream.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::worker {

class H2ServerConnection;

class H2ServerStream final : public ServerStream, public loop::Link {
public:
    H2ServerStream(H2ServerConnection& connection, Chain& head_room, loop::Loop& loop, std::size_t head_bytes);
    ~H2ServerStream() override;

    // As the exchange sees it.
    void set_news(loop::Posted* news) noexcept override { news_ = news; }
    void finish_head(Coding coding) override;
    void finish_body(std::string trailers) override;
    Io flush() override;
    HeadStep receive_head(http::ResponseHead& head, const http::HeadLimits& limits) override;
    BlockRef take_head(const http::ResponseHead& head) override;
    bool may_pull() const noexcept override { return !incoming_.empty() || has_ended_ || is_closed(); }
    BodyReader::Pull pull_body(BodyReader& body, Chain& into, std::size_t most) override;
    void on_timeout() noexcept override;
    void hand_back(std::unique_ptr<ServerStream>, Reuse, const config::Upstream&) override {}

    // As the connection sees it.
    /// A header block begins.
    void begin_head() noexcept;
    void add_field(std::string_view name, std::string_view value);
    /// It is complete. False: the server is not believed any further, the stream is to be reset.
    bool end_head();
    /// A part of the body, in the connection's input.
    void add_body(const BlockRef& block, std::string_view part);
    void on_response_end() noexcept;
    /// nghttp2 has closed the stream.
    void on_closed(std::uint32_t code) noexcept;
    /// nghttp2 found fault with a head.
    void on_malformed() noexcept { is_malformed_ = true; }
    /// The connection goes.
    void detach() noexcept;
    /// Something has come, or gone.
    void post_news() noexcept;
    bool is_whole() const noexcept { return is_ended_; }
    bool is_closed() const noexcept { return connection_ == nullptr || is_closed_; }
    bool is_answered() const noexcept { return is_answered_; }
    bool has_response_ended() const noexcept { return has_ended_; }

    std::int32_t id = 0;          ///< 0 = its head was not sent yet
    std::uint32_t reads_before = 0; ///< of its connection
    bool is_for_head = false;     ///< the method is HEAD
    bool is_deferred = false;     ///< nghttp2 waits for more of the request's body
    bool is_pushing = false;      ///< frames are made at this stream's own wish: it needs no news of them
    std::string request_trailers; ///< lines

private:
    H2ServerConnection* connection_; ///< null = it has gone
    loop::Loop& loop_;
    loop::Posted* news_ = nullptr;
    H2ResponseHead gathered_;
    std::vector<BlockRef> heads_; ///< complete and not taken, a few at the most
    Chain incoming_;              ///< of the body, received and not taken
    std::string trailers_;        ///< lines, of the response
    std::uint64_t taken_ = 0;     ///< of the body
    std::uint32_t code_ = 0;      ///< of is_closed_
    bool is_ended_ = false;       ///< the request's end is lined up
    bool has_begun_ = false;      ///< some of a head that is not complete has come
    bool is_answered_ = false;    ///< the final head has come
    bool has_ended_ = false;      ///< the response's end has come
    bool is_malformed_ = false;
    bool is_closed_ = false;
    bool has_wide_window_ = false;
};

} // namespace ladle::worker
