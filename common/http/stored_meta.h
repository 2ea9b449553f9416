// SPDX-License-Identifier: Apache-2.0
//
// StoredMeta: what is kept of a stored response beside its fields, its body and its key. Written by the worker that stores it, read by
// every process in place, in shared memory; `ladle cache` shows it. 8-aligned, trivially copyable: a change needs a new layout version
// of the cache (cache_layout.h).
#pragma once

#include "common/http/freshness.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace ladle::http {

struct StoredMeta {
    StoredFreshness freshness;
    std::int64_t request_ms = 0;  ///< Unix time at which its request (or its last validation) was sent
    std::int64_t response_ms = 0; ///< and at which its head came
    std::uint64_t part_first = 0; ///< of a 206: where its bytes begin,
    std::uint64_t part_total = 0; ///< and how many the whole has
    LifetimeSource source = LifetimeSource::none;
    std::uint8_t unused[7] = {};

    /// Reads it from an object's meta; nothing stored by us has another size.
    static StoredMeta read(std::span<const std::byte> bytes) noexcept
    {
        StoredMeta meta;
        std::memcpy(&meta, bytes.data(), bytes.size() < sizeof meta ? bytes.size() : sizeof meta);
        return meta;
    }
    std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(this, 1)); }
};
static_assert(std::is_trivially_copyable_v<StoredMeta> && sizeof(StoredMeta) == 64);

} // namespace ladle::http
