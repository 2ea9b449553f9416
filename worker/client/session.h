// SPDX-License-Identifier: Apache-2.0
//
// Session: one client connection from accept to close: hears from a proxy in front who it is, shakes hands where the address
// speaks TLS, finds out which protocol the client speaks; of HTTP/1 waits for requests and runs an exchange for each, in order;
// HTTP/2 is an H2Connection's. Owned by the Front; everything in it is destroyed with it. While it waits for a request it holds no
// buffer.
#pragma once

#include "common/loop/task.h"
#include "worker/client/connection.h"
#include "worker/client/h2_connection.h"
#include "worker/request/request.h"

#include <sys/socket.h>

#include <memory>
#include <string>

namespace ladle::worker {

class Front;

class Session : public loop::Link {
public:
    Session(Front& front, std::shared_ptr<LiveConfig> live, std::string bind_text);
    ~Session();

    /// Takes the socket over and runs up to the first wait. False: it is already done for.
    bool start(os::Fd socket, const sockaddr_storage& peer);
    /// Whether it waits for a request, and since when.
    bool is_idle() const noexcept { return idle_since_ != 0; }
    loop::Nanos idle_since() const noexcept { return idle_since_; }
    /// Ends an idle session.
    void close_idle() noexcept;
    /// The worker has begun to drain: HTTP/2 says so to its client.
    void on_drain() noexcept;

    // For HTTP/2.
    WorkerParts& parts() noexcept;
    /// What the next request begins with.
    const std::shared_ptr<LiveConfig>& newest_config();
    const config::Http2Limits& http2_limits() const noexcept { return live_->config->http2_limits; }
    std::uint32_t listen() const noexcept { return listen_; }
    /// Whether a reload took the connection's listener away: no request should follow.
    bool listener_is_gone() const noexcept { return listener_is_gone_; }
    bool is_closing() const noexcept { return is_closing_; }
    const config::Timeouts& timeouts() const noexcept { return live_->config->timeouts; }
    config::Duration idle_time() const noexcept { return idle_time_.value_or(timeouts().idle); }
    void set_idle_time(config::Duration time) noexcept { idle_time_ = time; }
    void begin_idle() noexcept;
    void end_idle() noexcept;

private:
    enum class Begin : std::uint8_t { bytes, leave };

    loop::Task<void> run();
    loop::Task<bool> open();
    loop::Task<bool> shake_hands();
    loop::Task<void> answer_plain_http();
    void log_failed_handshake(std::string_view reason);
    /// What the client speaks, by its first bytes; nothing: they do not say it yet.
    std::optional<Protocol> choose_protocol() const noexcept;
    loop::Task<Protocol> await_protocol();
    loop::Task<After> serve_all();
    loop::Task<Begin> wait_for_bytes();
    loop::Task<After> serve();
    loop::Task<std::optional<Answer>> receive_head(Request& request);
    loop::Task<void> end_handshake();
    loop::Task<void> linger();
    void follow_config();
    bool must_linger() const noexcept;

    Front& front_;
    std::shared_ptr<LiveConfig> live_;  ///< the newest one that has our listener
    std::string bind_text_;
    std::uint32_t listen_ = 0;
    bool listener_is_gone_ = false;
    bool is_closing_ = false;
    loop::Nanos idle_since_ = 0;
    std::optional<config::Duration> idle_time_; ///< of the last request's route
    ClientConnection client_;
    std::unique_ptr<H2Connection> h2_;
    loop::Task<void> main_; ///< last: its frames use all of the above
};

} // namespace ladle::worker
