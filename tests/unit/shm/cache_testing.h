// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the cache's store share: an arena of a size, objects whose bytes follow from their number, a reader that
// compares them. Test processes only.
#pragma once

#include "common/base/sanitized.h"
#include "common/shm/cache_journal.h"
#include "common/shm/cache_store.h"

#include <cstring>
#include <string>

namespace cache_testing {

using namespace ladle;

/// Sanitized, each case of the large tests costs thirty times as much: then every tenth has to do. The release build takes all.
inline constexpr int kThinned = kIsAddressSanitized ? 10 : 1;

inline shm::CacheArena make_arena(std::uint64_t mib, std::uint64_t file_budget = 0, std::uint64_t seed = 42)
{
    return std::move(*shm::CacheArena::make({mib << 20, file_budget, seed}));
}

/// Bytes that only this number and length have.
inline std::string make_body(std::uint64_t number, std::size_t bytes)
{
    std::string body(bytes, '\0');
    std::uint64_t state = number * 0x9e3779b97f4a7c15u + bytes;
    for (std::size_t i = 0; i < bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::memcpy(body.data() + i, &state, std::min<std::size_t>(8, bytes - i));
    }
    return body;
}

inline std::string read_body(const shm::CacheView& view)
{
    iovec pieces[shm::kMaxPieces];
    const std::size_t count = view.body(0, view.filled(), pieces, shm::kMaxPieces);
    std::string body;
    for (std::size_t i = 0; i < count; ++i) {
        body.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
    }
    return body;
}

inline std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text));
}

} // namespace cache_testing
