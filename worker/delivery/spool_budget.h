// SPDX-License-Identifier: Apache-2.0
//
// Who may hold how much: the ceilings of [budget] for bodies that wait and for HTTP/2 requests in work, counted for the whole
// proxy (every worker's use stands in its process row; a dead worker's is gone with its row) and per client address. Past a ceiling
// nothing fails: the holder stops taking more in until something was delivered (back-pressure).
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace ladle::worker {

/// Bodies in memory and on disk; what HTTP/2 requests hold beside those.
enum class Storage : std::uint8_t { memory, disk, requests };

class SpoolBudget {
public:
    SpoolBudget(shm::Regions& regions, std::uint32_t row, const config::Budget& limits) noexcept
        : regions_(regions), row_(regions.rows[row])
    {
        set_limits(limits);
    }

    void set_limits(const config::Budget& limits) noexcept;

    static constexpr std::uint32_t kNoClient = UINT32_MAX; ///< as a bucket: a proxy of many clients, without a ceiling

    /// Whether `more` bytes may be held for the client of that bucket.
    bool has_room(Storage storage, std::uint32_t client_bucket, std::uint64_t more) noexcept;
    /// Counts a holder's change from `before` to `after` bytes.
    void count(Storage storage, std::uint32_t client_bucket, std::uint64_t before, std::uint64_t after) noexcept;

    /// The disk refused a write: no spooling to disk until `until`.
    void mark_disk_bad(loop::Nanos until) noexcept { disk_bad_until_ = until; }
    bool is_disk_good(loop::Nanos now) const noexcept { return now >= disk_bad_until_; }

    shm::ProcessRow& row() noexcept { return row_; }

private:
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    config::Budget limits_;
    loop::Nanos disk_bad_until_ = 0;
};

/// One body's share of the budget; gives it back when destroyed.
class SpoolAccount {
public:
    SpoolAccount(SpoolBudget& budget, std::uint32_t client_bucket) noexcept : budget_(budget), bucket_(client_bucket) {}
    ~SpoolAccount()
    {
        set(Storage::memory, 0);
        set(Storage::disk, 0);
        set(Storage::requests, 0);
    }
    SpoolAccount(const SpoolAccount&) = delete;
    SpoolAccount& operator=(const SpoolAccount&) = delete;

    void set(Storage storage, std::uint64_t bytes) noexcept
    {
        std::uint64_t& held = held_[static_cast<std::size_t>(storage)];
        if (held != bytes) {
            budget_.count(storage, bucket_, held, bytes);
            held = bytes;
        }
    }
    /// Bytes that are not counted yet, were it to hold so many.
    std::uint64_t growth_to(Storage storage, std::uint64_t bytes) const noexcept
    {
        const std::uint64_t held = held_[static_cast<std::size_t>(storage)];
        return bytes > held ? bytes - held : 0;
    }
    bool has_room(Storage storage, std::uint64_t more) noexcept { return budget_.has_room(storage, bucket_, more); }
    SpoolBudget& budget() noexcept { return budget_; }

private:
    SpoolBudget& budget_;
    std::uint32_t bucket_;
    std::array<std::uint64_t, 3> held_{}; ///< by Storage
};

} // namespace ladle::worker
