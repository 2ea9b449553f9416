// SPDX-License-Identifier: Apache-2.0
//
// Upload: a request on its way to the server: head, then the body as it comes. forward() drives it; where the server answers while
// the body is still being sent, and its protocol lets that go on, the Turn has it from then on, and the delivery drives it.
#pragma once

#include "worker/request/request.h"
#include "worker/upstream/server_stream.h"

#include <optional>

namespace ladle::worker {

class Upload {
public:
    explicit Upload(Request& request) noexcept : request_(request) {}

    void begin(ServerStream& server);
    /// Moves what is at hand one step on; false = nothing moved.
    bool step(ServerStream& server);
    /// Sends the head alone until continue_body().
    void hold_body() noexcept { holds_body_ = true; }
    void continue_body() noexcept { holds_body_ = false; }
    bool holds_only_body(const ServerStream& server) const noexcept { return holds_body_ && server.out.empty(); }
    bool is_done(const ServerStream& server) const noexcept { return is_ended_ && server.out.empty(); }
    bool has_failed() const noexcept { return has_failed_; }
    /// The client's part of a failure: it left, or its body is malformed or too large.
    const std::optional<Answer>& client_failure() const noexcept { return client_failure_; }

private:
    void line_up(ServerStream& server);

    Request& request_;
    std::optional<Answer> client_failure_;
    bool has_body_ = false;
    bool holds_body_ = false;
    bool is_ended_ = false; ///< everything is lined up
    bool has_failed_ = false;
};

} // namespace ladle::worker
