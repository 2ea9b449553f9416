// SPDX-License-Identifier: Apache-2.0
//
// Copies: what one worker has under way to mirrors (mirror.h), and the limits of that. Owns them; part of WorkerParts. Past a
// limit a copy is left out: nothing that concerns a mirror makes a client's request wait, fail or take back-pressure, so copies
// count in [mirror] alone and in no budget of clients.
#pragma once

#include "common/config/config.h"
#include "common/shm/rows.h"
#include "worker/request/errands.h"

#include <cstdint>
#include <memory>

namespace ladle::worker {

class Copies {
public:
    /// `seed` of what is drawn.
    Copies(loop::Loop& loop, shm::ProcessRow& row, std::uint64_t seed) noexcept : errands_(loop), row_(row), random_(seed | 1) {}

    /// Draws whether a request is one of `share` percent. Each is drawn for itself: what a client does, and whether it comes often,
    /// changes nothing about the share, which a client's address would.
    bool draw(std::uint32_t share) noexcept;
    /// Whether one more with so long a body may be begun.
    bool has_room(const config::MirrorLimits& limits, std::uint64_t body_bytes) const noexcept;

    void start(std::unique_ptr<Errand> copy) { errands_.start(std::move(copy)); }
    void retire(Errand& copy) noexcept { errands_.retire(copy); }
    void clear() noexcept { errands_.clear(); }

    /// One copy's part of the limits, while it lives.
    class Place {
    public:
        Place(Copies& copies, std::uint64_t body_bytes) noexcept;
        ~Place();
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;

    private:
        Copies& copies_;
        std::uint64_t body_bytes_;
    };

private:
    Errands errands_;
    shm::ProcessRow& row_;
    std::uint64_t random_; ///< state
    std::uint32_t in_work_ = 0;
    std::uint64_t body_bytes_ = 0;
};

} // namespace ladle::worker
