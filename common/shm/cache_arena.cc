// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_arena.h"

#include "common/os/memory_file.h"
#include "common/shm/cache_fills.h"
#include "common/shm/cache_journal.h"
#include "common/shm/cache_purge.h"
#include "common/shm/cache_requests.h"
#include "common/shm/cache_stripe.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kCacheMagic = 0x6c61646c63616368; // "ladlcach"
constexpr std::uint32_t kCacheLayoutVersion = 3;
constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;
constexpr std::uint64_t kMaxCacheBytes = std::uint64_t{256} << 30;

/// Changes whenever a part's place or shape does.
constexpr std::uint32_t cache_abi_hash() noexcept
{
    std::uint32_t hash = 2166136261u;
    for (const std::size_t v : {sizeof(CacheHeader),
                                sizeof(CacheStripe),
                                sizeof(CacheBucket),
                                sizeof(CacheEntry),
                                sizeof(RecordHeader),
                                sizeof(CacheJournal),
                                sizeof(PurgeRegion),
                                sizeof(FillRegion),
                                sizeof(FillPlace),
                                sizeof(RequestRegion),
                                offsetof(CacheStripe, free_blocks),
                                offsetof(CacheStripe, entries_touched),
                                offsetof(CacheStripe, refusals),
                                offsetof(CacheEntry, state),
                                sizeof(RecordFile),
                                offsetof(CacheEntry, bucket),
                                offsetof(RecordHeader, url_bytes),
                                offsetof(RecordFile, pages),
                                offsetof(PurgeRegion, sets),
                                offsetof(PurgeRegion, lengths),
                                std::size_t{kMaxProcesses},
                                std::size_t{kCellBytes},
                                std::size_t{kCellOrders},
                                std::size_t{kBucketSlots}}) {
        hash = (hash ^ static_cast<std::uint32_t>(v)) * 16777619u;
    }
    return hash;
}

/// Mapped at a multiple of 2 MiB, without which the kernel cannot use huge pages.
Result<std::byte*> map_aligned(int fd, std::uint64_t bytes)
{
    void* const room = ::mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) {
        return fail_errno("cannot map_aligned the cache's memory", errno);
    }
    auto* const begin = static_cast<std::byte*>(room);
    std::byte* const at = begin + (kHugePage - reinterpret_cast<std::uintptr_t>(room) % kHugePage) % kHugePage;
    if (::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
        const int code = errno;
        ::munmap(room, bytes + kHugePage);
        return fail_errno("cannot map_aligned the cache's memory", code);
    }
    if (at != begin) {
        ::munmap(begin, static_cast<std::size_t>(at - begin));
    }
    std::byte* const end = at + round_up(bytes, kPage);
    ::munmap(end, static_cast<std::size_t>(begin + round_up(bytes + kHugePage, kPage) - end));
    return at;
}

std::uint32_t stripes_of(std::uint64_t memory_bytes) noexcept
{
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(memory_bytes / kStripeBytes, 1, kMaxStripes));
}

/// Where everything lies in an arena of so many bytes.
void lay_out(CacheHeader& header, std::uint64_t bytes) noexcept
{
    header.purge_offset = round_up(sizeof(CacheHeader), kPage);
    header.fills_offset = header.purge_offset + round_up(sizeof(PurgeRegion), kPage);
    header.requests_offset = header.fills_offset + round_up(sizeof(FillRegion), kPage);
    header.journals_offset = header.requests_offset + round_up(sizeof(RequestRegion), kPage);
    header.stripes_offset = header.journals_offset + sizeof(CacheJournal) * kMaxProcesses;
    header.stripe_count = stripes_of(bytes);
    header.stripe_bytes = (bytes - header.stripes_offset) / header.stripe_count / kPage * kPage;
}

bool is_ours(const CachePrefix& prefix, std::uint64_t bytes) noexcept
{
    return prefix.magic == kCacheMagic && prefix.layout_version == kCacheLayoutVersion && prefix.abi_hash == cache_abi_hash() &&
           prefix.bytes == bytes;
}

} // namespace

CacheArena::CacheArena(os::Fd fd, std::byte* base, std::uint64_t bytes) noexcept : fd_(std::move(fd)), base_(base), bytes_(bytes)
{
}

CacheArena::CacheArena(CacheArena&& other) noexcept
    : fd_(std::move(other.fd_)), base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0))
{
}

CacheArena& CacheArena::operator=(CacheArena&& other) noexcept
{
    if (this != &other) {
        if (base_ != nullptr) {
            ::munmap(base_, bytes_);
        }
        fd_ = std::move(other.fd_);
        base_ = std::exchange(other.base_, nullptr);
        bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
}

CacheArena::~CacheArena()
{
    if (base_ != nullptr) {
        ::munmap(base_, bytes_);
    }
}

Result<CacheArena> CacheArena::make(const CacheOptions& options)
{
    if (options.memory_bytes < kMinCacheBytes || options.memory_bytes > kMaxCacheBytes) {
        return fail(Origin::local, "the cache's memory must be between 8MiB and 256GiB");
    }
    const std::uint64_t bytes = options.memory_bytes / kPage * kPage;
    auto file = os::make_shared_file("ladle-cache", bytes);
    if (!file) {
        return std::unexpected(file.error());
    }
    auto base = map_aligned(file->get(), bytes);
    if (!base) {
        return std::unexpected(base.error());
    }
    CacheArena arena(std::move(*file), *base, bytes);
    CacheHeader& header = arena.header();
    header.prefix.layout_version = kCacheLayoutVersion;
    header.prefix.abi_hash = cache_abi_hash();
    header.prefix.bytes = bytes;
    header.prefix.seed = options.seed;
    if (options.seed == 0 && ::getrandom(&header.prefix.seed, sizeof header.prefix.seed, 0) != sizeof header.prefix.seed) {
        return fail_errno("cannot get random numbers", errno);
    }
    lay_out(header, bytes);
    header.next_file.store(1, std::memory_order_relaxed);
    reinterpret_cast<PurgeRegion*>(arena.base_ + header.purge_offset)->epoch.store(1, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < header.stripe_count; ++i) {
        lay_out_stripe(arena, arena.stripe(i), header.stripe_bytes, options.file_budget_bytes / header.stripe_count);
    }
    header.prefix.magic = kCacheMagic;
    return arena;
}

Result<CacheArena> CacheArena::adopt(os::Fd fd)
{
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0 || st.st_size < static_cast<off_t>(kMinCacheBytes)) {
        return fail(Origin::local, "the cache's memory has another size");
    }
    const auto bytes = static_cast<std::uint64_t>(st.st_size);
    auto base = map_aligned(fd.get(), bytes);
    if (!base) {
        return std::unexpected(base.error());
    }
    CacheArena arena(std::move(fd), *base, bytes);
    if (!is_ours(arena.header().prefix, bytes)) {
        return fail(Origin::local, "the cache's memory has another layout");
    }
    return arena;
}

bool CacheArena::is_whole() const noexcept
{
    CacheHeader right{};
    lay_out(right, bytes_);
    const CacheHeader& is = header();
    return is_ours(is.prefix, bytes_) && is.purge_offset == right.purge_offset && is.fills_offset == right.fills_offset &&
           is.requests_offset == right.requests_offset && is.journals_offset == right.journals_offset &&
           is.stripes_offset == right.stripes_offset && is.stripe_bytes == right.stripe_bytes && is.stripe_count == right.stripe_count;
}

bool CacheArena::is_made_with(const CacheOptions& options) const noexcept
{
    const std::uint32_t stripes = header().stripe_count;
    return bytes_ == options.memory_bytes / kPage * kPage && stripes == stripes_of(options.memory_bytes) &&
           stripe(0).file_budget_pages == options.file_budget_bytes / stripes / kFilePageBytes;
}

} // namespace ladle::shm
