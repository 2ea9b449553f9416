// SPDX-License-Identifier: Apache-2.0
//
// Session: one client connection from accept to close: shakes hands where the address speaks TLS, waits for requests, runs an
// exchange for each, in order. Owned by the Front;
// everything in it is destroyed with it. While it waits for a request it holds no buffer.
#pragma once

#include "common/loop/task.h"
#include "worker/client/connection.h"
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

private:
    enum class Begin : std::uint8_t { bytes, leave };

    loop::Task<void> run();
    loop::Task<bool> shake_hands();
    loop::Task<void> answer_plain_http();
    void log_failed_handshake(std::string_view reason);
    loop::Task<Begin> wait_for_bytes();
    loop::Task<After> serve();
    loop::Task<std::optional<Answer>> receive_head(Request& request);
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
    loop::Task<void> main_; ///< last: its frames use all of the above
};

} // namespace ladle::worker
