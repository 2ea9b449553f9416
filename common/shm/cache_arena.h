// SPDX-License-Identifier: Apache-2.0
//
// The cache's arena as a mapping: made by the master from `cache.memory`, inherited by all processes, adopted over an upgrade when
// its layout is ours (else the new master makes a new one and the old goes with the last old worker). A memfd, because a file
// mapping stalls writers for milliseconds under writeback; sparse, so a large `memory` costs nothing until it is used. The whole
// arena, tables and all, is at most as large as asked. Lives as long as the process; CacheStore, PurgeTable and FillTable borrow it.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"
#include "common/shm/cache_layout.h"

#include <cstdint>

namespace ladle::shm {

struct CacheOptions {
    std::uint64_t memory_bytes = 0; ///< of the arena; at least kMinCacheBytes
    /// 0: the bodies in files lie in memory too (tmpfs) and are charged to memory_bytes. Else the files have this budget of their own
    /// (the disk tier's index).
    std::uint64_t file_budget_bytes = 0;
    std::uint64_t seed = 0; ///< 0 = random. The disk tier gives the one that its snapshot was made with.
};

inline constexpr std::uint64_t kMinCacheBytes = std::uint64_t{8} << 20;
inline constexpr std::uint64_t kStripeBytes = std::uint64_t{1} << 30;

class CacheArena {
public:
    /// Makes a new one (master). Fails when memory_bytes is out of range (8 MiB … 256 GiB) or the kernel refuses.
    static Result<CacheArena> make(const CacheOptions& options);
    /// Maps one inherited over an exec; fails if its layout is not ours.
    static Result<CacheArena> adopt(os::Fd fd);

    CacheArena(CacheArena&& other) noexcept;
    CacheArena& operator=(CacheArena&& other) noexcept;
    ~CacheArena();

    int fd() const noexcept { return fd_.get(); }
    std::uint64_t bytes() const noexcept { return bytes_; }
    std::uint64_t seed() const noexcept { return header().prefix.seed; }
    /// Whether it was made with these options; if not, the master makes a new one (the old one's content is lost, as announced).
    bool is_made_with(const CacheOptions& options) const noexcept;
    /// Whether the header says where things lie as it must in an arena of this size: nothing else in it may be followed if not.
    bool is_whole() const noexcept;

    CacheHeader& header() const noexcept { return *reinterpret_cast<CacheHeader*>(base_); }
    CacheStripe& stripe(std::uint32_t index) const noexcept
    {
        return *reinterpret_cast<CacheStripe*>(base_ + header().stripes_offset + header().stripe_bytes * index);
    }
    std::byte* base() const noexcept { return base_; }

private:
    CacheArena(os::Fd fd, std::byte* base, std::uint64_t bytes) noexcept;
    os::Fd fd_;
    std::byte* base_ = nullptr;
    std::uint64_t bytes_ = 0;
};

} // namespace ladle::shm
