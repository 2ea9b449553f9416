// SPDX-License-Identifier: Apache-2.0
//
// StoredMeta: what is kept of a stored response beside its fields, its body and its key. Written by the worker that stores it, read by
// every process, from shared memory and from the disk tier's files; `ladle cache` shows it. It is stored packed, as every object has one:
//
//   │ born 8 │ request 8 │ lifetime 4 │ response − request 4 │ flags, source, what follows 2 │ status 2 │ [stale-… 4 + 4] │ [part 8 + 8] │
//
// A change needs a new layout version of the cache (cache_arena.cc) and of the files (disk_object.cc).
#pragma once

#include "common/http/freshness.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

namespace ladle::http {

/// A StoredMeta as it is stored.
class PackedMeta {
public:
    std::span<const std::byte> bytes() const noexcept { return std::span(bytes_).first(size_); }

private:
    friend struct StoredMeta;
    template <typename T>
    void put(T value) noexcept
    {
        std::memcpy(bytes_.data() + size_, &value, sizeof value);
        size_ += sizeof value;
    }
    std::array<std::byte, 56> bytes_{};
    std::size_t size_ = 0;
};

struct StoredMeta {
    StoredFreshness freshness;
    std::int64_t request_ms = 0;  ///< Unix time at which its request (or its last validation) was sent
    std::int64_t response_ms = 0; ///< and at which its head came
    std::uint64_t part_first = 0; ///< of a 206: where its bytes begin,
    std::uint64_t part_total = 0; ///< and how many the whole has
    LifetimeSource source = LifetimeSource::none;

    /// Whether an object's meta is as long as it says; nothing stored by us is not.
    static bool is_whole(std::span<const std::byte> bytes) noexcept
    {
        return bytes.size() >= kLeastBytes && bytes.size() == bytes_of(take<std::uint16_t>(bytes, kWordAt));
    }

    /// Reads it from an object's meta; an empty one where that is not whole.
    static StoredMeta read(std::span<const std::byte> bytes) noexcept
    {
        StoredMeta meta;
        if (!is_whole(bytes)) {
            return meta;
        }
        const auto word = take<std::uint16_t>(bytes, kWordAt);
        meta.freshness.born_ms = take<std::int64_t>(bytes, 0);
        meta.request_ms = take<std::int64_t>(bytes, 8);
        meta.freshness.lifetime_s = take<std::uint32_t>(bytes, 16);
        meta.response_ms = meta.request_ms + take<std::int32_t>(bytes, 20);
        meta.freshness.flags = word & kFlags;
        meta.freshness.status = take<std::uint16_t>(bytes, kWordAt + 2);
        meta.source = static_cast<LifetimeSource>(word >> kSourceAt & kSources);
        std::size_t at = kLeastBytes;
        if ((word & kHasStale) != 0) {
            meta.freshness.stale_while_revalidate_s = take<std::uint32_t>(bytes, at);
            meta.freshness.stale_if_error_s = take<std::uint32_t>(bytes, at + 4);
            at += 8;
        }
        if ((word & kHasPart) != 0) {
            meta.part_first = take<std::uint64_t>(bytes, at);
            meta.part_total = take<std::uint64_t>(bytes, at + 8);
        }
        return meta;
    }

    PackedMeta pack() const noexcept
    {
        using Delay = std::numeric_limits<std::int32_t>;
        const bool has_stale = (freshness.stale_while_revalidate_s | freshness.stale_if_error_s) != 0;
        const bool has_part = (part_first | part_total) != 0;
        PackedMeta packed;
        packed.put(freshness.born_ms);
        packed.put(request_ms);
        packed.put(freshness.lifetime_s);
        packed.put(static_cast<std::int32_t>(std::clamp<std::int64_t>(response_ms - request_ms, Delay::min(), Delay::max())));
        packed.put(static_cast<std::uint16_t>((freshness.flags & kFlags) | static_cast<unsigned>(source) << kSourceAt |
                                              (has_stale ? kHasStale : 0u) | (has_part ? kHasPart : 0u)));
        packed.put(freshness.status);
        if (has_stale) {
            packed.put(freshness.stale_while_revalidate_s);
            packed.put(freshness.stale_if_error_s);
        }
        if (has_part) {
            packed.put(part_first);
            packed.put(part_total);
        }
        return packed;
    }

private:
    static constexpr std::size_t kLeastBytes = 28;
    static constexpr std::size_t kWordAt = 24;
    static constexpr std::uint16_t kFlags = 0xff;
    static constexpr unsigned kSourceAt = 8;
    static constexpr unsigned kSources = 0x7;
    static constexpr std::uint16_t kHasStale = 1u << 12;
    static constexpr std::uint16_t kHasPart = 1u << 13;

    static constexpr std::size_t bytes_of(std::uint16_t word) noexcept
    {
        return kLeastBytes + ((word & kHasStale) != 0 ? 8 : 0) + ((word & kHasPart) != 0 ? 16 : 0);
    }
    template <typename T>
    static T take(std::span<const std::byte> bytes, std::size_t at) noexcept
    {
        T value;
        std::memcpy(&value, bytes.data() + at, sizeof value);
        return value;
    }
};
static_assert(StoredFreshness::kIsPartial <= 0xff);

/// What the disk tier's index keeps of a response, so that nobody needs the file for it. Its head there is the variant.
struct IndexedMeta {
    StoredFreshness freshness;
    std::uint64_t key = 0; ///< low half of the hash of its URL's key: `ladle cache URL` finds all variants by it

    /// An empty one where the bytes are something else: a record of variants has none.
    static IndexedMeta read(std::span<const std::byte> bytes) noexcept
    {
        IndexedMeta meta;
        if (bytes.size() == sizeof meta) {
            std::memcpy(&meta, bytes.data(), sizeof meta);
        }
        return meta;
    }
    std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(this, 1)); }
    /// What of a variant is kept beside it, to be shown: the index is to have room for more than texts that clients make.
    static std::string_view shortened(std::string_view variant) noexcept { return variant.substr(0, 200); }
};
static_assert(std::is_trivially_copyable_v<IndexedMeta> && sizeof(IndexedMeta) == 32);

} // namespace ladle::http
