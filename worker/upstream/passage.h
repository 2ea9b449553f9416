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

/// The answer where the breaker is open for some time yet; to be asked before a body is taken for which there would be no use.
std::optional<Answer> refuse_early(Request& request);

class Passage {
public:
    Passage(Request& request, Upstream& upstream) noexcept;
    ~Passage();
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

    /// Whether the request may not be sent: it was refused, or the breaker has opened while it waited.
    bool is_shut() const noexcept;
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
    Request& request_;
    Upstream& upstream_;
    shm::Admission admission_;
    std::optional<shm::ServerFailure> failure_;
    bool has_ended_ = false;
};

} // namespace ladle::worker
