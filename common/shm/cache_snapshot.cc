// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_snapshot.h"

#include "common/shm/cache_fills.h"
#include "common/shm/cache_journal.h"
#include "common/shm/cache_purge.h"
#include "common/shm/cache_store.h"
#include "common/shm/cache_stripe.h"

#include <xxhash.h>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kSnapshotMagic = 0x6c61646c736e6170; // "ladlsnap"
constexpr std::uint64_t kMostExtents = 1u << 20;

struct SnapshotHeader {
    std::uint64_t magic;
    std::uint64_t extents;
    CachePrefix prefix;
};

struct Extent {
    std::uint64_t offset;
    std::uint64_t bytes;
};

struct FreeHash {
    void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

/// Bytes through a descriptor, hashed on their way.
class HashedFile {
public:
    explicit HashedFile(int fd) : fd_(fd), hash_(XXH3_createState()) { XXH3_64bits_reset(hash_.get()); }

    bool write(const void* from, std::size_t bytes)
    {
        XXH3_64bits_update(hash_.get(), from, bytes);
        for (std::size_t done = 0; done < bytes;) {
            const ssize_t n = ::write(fd_, static_cast<const char*>(from) + done, bytes - done);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                return false;
            }
            done += static_cast<std::size_t>(n);
        }
        return true;
    }
    bool read(void* into, std::size_t bytes)
    {
        for (std::size_t done = 0; done < bytes;) {
            const ssize_t n = ::read(fd_, static_cast<char*>(into) + done, bytes - done);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                return false;
            }
            done += static_cast<std::size_t>(n);
        }
        XXH3_64bits_update(hash_.get(), into, bytes);
        return true;
    }
    std::uint64_t hash() const { return XXH3_64bits_digest(hash_.get()); }

private:
    int fd_;
    std::unique_ptr<XXH3_state_t, FreeHash> hash_;
};

/// Where the memfd has pages.
std::vector<Extent> find_extents(const CacheArena& arena)
{
    std::vector<Extent> extents;
    off_t at = 0;
    for (;;) {
        const off_t begin = ::lseek(arena.fd(), at, SEEK_DATA);
        if (begin < 0) {
            return extents;
        }
        at = ::lseek(arena.fd(), begin, SEEK_HOLE);
        at = at < 0 ? static_cast<off_t>(arena.bytes()) : at;
        extents.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(at - begin)});
    }
}

/// What belonged to processes that are no more.
void forget_processes(CacheArena& arena) noexcept
{
    const CacheHeader& header = arena.header();
    std::memset(arena.base() + header.fills_offset, 0, sizeof(FillRegion));
    reinterpret_cast<PurgeRegion*>(arena.base() + header.purge_offset)->lock.store(0);
    for (std::uint32_t i = 0; i < header.stripe_count; ++i) {
        CacheStripe& stripe = arena.stripe(i);
        const StripeParts parts(stripe);
        stripe.lock.store(0);
        const std::uint32_t end = stripe.entries_touched.load(std::memory_order_relaxed);
        for (std::uint32_t index = 1; index < end; ++index) {
            CacheEntry& entry = parts.entry(index);
            const CacheState state = entry.state.load(std::memory_order_relaxed);
            if (entry.pins.load(std::memory_order_relaxed) != 0) {
                entry.pins.store(0, std::memory_order_relaxed);
            }
            if (state == CacheState::building || state == CacheState::filling) {
                entry.state.store(CacheState::aborted, std::memory_order_relaxed); // the sweep frees it
            }
        }
    }
}

/// Whether extents are in order and inside an arena of `bytes`.
bool are_sane(const std::vector<Extent>& extents, std::uint64_t bytes) noexcept
{
    std::uint64_t at = 0;
    for (const Extent& extent : extents) {
        if (extent.offset < at || extent.bytes > bytes || extent.offset > bytes - extent.bytes) {
            return false;
        }
        at = extent.offset + extent.bytes;
    }
    return true;
}

bool is_same_layout(const CachePrefix& a, const CachePrefix& b) noexcept
{
    return a.magic == b.magic && a.layout_version == b.layout_version && a.abi_hash == b.abi_hash && a.bytes == b.bytes;
}

} // namespace

Result<void> save_cache(const CacheArena& arena, int fd)
{
    const std::vector<Extent> extents = find_extents(arena);
    const SnapshotHeader header{kSnapshotMagic, extents.size(), arena.header().prefix};
    HashedFile file(fd);
    bool is_written = file.write(&header, sizeof header) && file.write(extents.data(), extents.size() * sizeof(Extent));
    for (const Extent& extent : extents) {
        is_written = is_written && file.write(arena.base() + extent.offset, extent.bytes);
    }
    const std::uint64_t hash = file.hash();
    if (!is_written || !file.write(&hash, sizeof hash)) {
        return fail_errno("cannot write the cache's snapshot", errno);
    }
    return {};
}

Result<CacheArena> load_cache(int fd, const CacheOptions& options)
{
    HashedFile file(fd);
    SnapshotHeader header{};
    if (!file.read(&header, sizeof header) || header.magic != kSnapshotMagic || header.extents > kMostExtents) {
        return fail(Origin::local, "the cache's snapshot is damaged");
    }
    CacheOptions same = options;
    same.seed = header.prefix.seed;
    auto arena = CacheArena::make(same);
    if (!arena) {
        return arena;
    }
    if (!is_same_layout(header.prefix, arena->header().prefix)) {
        return fail(Origin::local, "the cache's snapshot is of another version or size");
    }
    const CachePrefix made = arena->header().prefix;
    std::vector<Extent> extents(header.extents);
    if (!file.read(extents.data(), extents.size() * sizeof(Extent)) || !are_sane(extents, arena->bytes())) {
        return fail(Origin::local, "the cache's snapshot is damaged");
    }
    for (const Extent& extent : extents) {
        if (!file.read(arena->base() + extent.offset, extent.bytes)) {
            return fail(Origin::local, "the cache's snapshot is cut off");
        }
    }
    const std::uint64_t expected = file.hash();
    std::uint64_t hash = 0;
    if (!file.read(&hash, sizeof hash) || hash != expected) {
        return fail(Origin::local, "the cache's snapshot is damaged");
    }
    if (!is_same_layout(made, arena->header().prefix) || !arena->is_made_with(same)) {
        return fail(Origin::local, "the cache's snapshot was made with other sizes");
    }
    forget_processes(*arena);
    return arena;
}

} // namespace ladle::shm
