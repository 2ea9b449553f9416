// SPDX-License-Identifier: Apache-2.0
//
// Passage: one request's way past the breaker of its upstream (shm/breaker.h), from before a server is chosen to the head of the
// response. How the last server that was asked did is how the request ended; it is told as the passage ends, however that comes.
// Without a breaker it is nothing, and of a request that is sent to two servers at the same time (hedge.h) it is the first one's.
#pragma once

#include "worker/request/request.h"
#include "worker/upstream/upstream.h"

#include <optional>

namespace ladle::worker {

class Passage {
public:
    Passage(Request& request, Upstream& upstream)
        : request_(request), upstream_(upstream.settings().breaker && request.kind != RequestKind::hedge ? &upstream : nullptr)
    {
        if (upstream_ != nullptr) {
            enter();
        }
    }
    ~Passage()
    {
        if (upstream_ != nullptr) {
            settle();
        }
    }
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

    /// Whether the request may not be sent: it was refused, or the breaker has opened while it waited.
    bool is_shut() const noexcept { return upstream_ != nullptr && is_refused(); }
    /// What it is answered then.
    Answer refuse();
    /// A server was asked and did well, or failed.
    void note(std::optional<shm::ServerFailure> failure) noexcept
    {
        has_ended_ = true;
        failure_ = failure;
    }
    /// What came of asking tells nothing of the server.
    void note_nothing() noexcept { has_ended_ = false; }

private:
    bool is_refused() const noexcept;
    void enter();
    void settle();

    Request& request_;
    Upstream* const upstream_; ///< null = it has no breaker
    shm::Admission admission_;
    std::optional<shm::ServerFailure> failure_;
    bool has_ended_ = false;
};

/// The answer where the breaker of `upstream` is open for some time yet.
std::optional<Answer> refuse_while_shut(Request& request, const Upstream& upstream);

/// The same for the request's upstream; to be asked before a body is taken for which there would be no use.
inline std::optional<Answer> refuse_early(Request& request)
{
    const Upstream& upstream = *request.live->upstreams[request.upstream];
    return upstream.settings().breaker ? refuse_while_shut(request, upstream) : std::nullopt;
}

} // namespace ladle::worker
