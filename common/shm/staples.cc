// SPDX-License-Identifier: Apache-2.0
#include "common/shm/staples.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr std::uint32_t kProbes = 16;
constexpr std::uint32_t kNowhere = kMaxStaples;

std::uint32_t place_of(const StapleKey& key, std::uint32_t probe) noexcept
{
    std::uint32_t begin = 0;
    std::memcpy(&begin, key.data(), sizeof begin);
    return (begin + probe) % kMaxStaples;
}

/// kNowhere = there is none.
std::uint32_t find(const StapleTable& table, const StapleKey& key) noexcept
{
    for (std::uint32_t probe = 0; probe < kProbes; ++probe) {
        const std::uint32_t at = place_of(key, probe);
        if (table.staples[at].size != 0 && table.staples[at].key == key) {
            return at;
        }
    }
    return kNowhere;
}

std::uint32_t find_free(const StapleTable& table, const StapleKey& key) noexcept
{
    for (std::uint32_t probe = 0; probe < kProbes; ++probe) {
        if (const std::uint32_t at = place_of(key, probe); table.staples[at].size == 0) {
            return at;
        }
    }
    return kNowhere;
}

std::uint64_t hash_of(const StapleKey& key, std::uint64_t good_until_s, std::span<const std::uint8_t> answer) noexcept
{
    return XXH3_64bits_withSeed(answer.data(), answer.size(), XXH3_64bits_withSeed(key.data(), key.size(), good_until_s));
}

/// An empty answer frees the place.
void write_staple(StapleTable& table, std::uint32_t at, const StapleKey& key, std::span<const std::uint8_t> answer,
           std::uint64_t good_until_s) noexcept
{
    Staple& staple = table.staples[at];
    const std::uint32_t begun = staple.seq.load(std::memory_order_relaxed) | 1u;
    staple.seq.store(begun, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    staple.key = key;
    staple.good_until_s = good_until_s;
    staple.size = static_cast<std::uint32_t>(answer.size());
    staple.hash = hash_of(key, good_until_s, answer);
    std::copy(answer.begin(), answer.end(), table.answers[at]);
    staple.seq.store(begun + 1, std::memory_order_release);
}

} // namespace

bool read_staple(const StapleTable& table, const StapleKey& key, std::uint64_t now_s, std::vector<std::uint8_t>& out)
{
    const std::uint32_t at = find(table, key);
    if (at == kNowhere) {
        return false;
    }
    const Staple& staple = table.staples[at];
    const std::uint32_t before = staple.seq.load(std::memory_order_acquire);
    const std::uint64_t good_until_s = staple.good_until_s;
    const std::uint64_t hash = staple.hash;
    const std::size_t size = staple.size;
    if (before % 2 != 0 || now_s >= good_until_s || size == 0 || size > kMostStapleBytes) {
        return false;
    }
    out.assign(table.answers[at], table.answers[at] + size);
    std::atomic_thread_fence(std::memory_order_acquire);
    return staple.seq.load(std::memory_order_relaxed) == before && hash == hash_of(key, good_until_s, out);
}

std::uint64_t staple_until(const StapleTable& table, const StapleKey& key) noexcept
{
    const std::uint32_t at = find(table, key);
    return at == kNowhere ? 0 : table.staples[at].good_until_s;
}

bool publish_staple(StapleTable& table, const StapleKey& key, std::span<const std::uint8_t> answer,
                    std::uint64_t good_until_s) noexcept
{
    const std::uint32_t known = find(table, key);
    const std::uint32_t at = known != kNowhere ? known : find_free(table, key);
    if (answer.empty() || answer.size() > kMostStapleBytes || at == kNowhere) {
        return false;
    }
    write_staple(table, at, key, answer, good_until_s);
    return true;
}

void withdraw_staple(StapleTable& table, const StapleKey& key) noexcept
{
    if (const std::uint32_t at = find(table, key); at != kNowhere) {
        write_staple(table, at, StapleKey{}, {}, 0);
    }
}

void keep_staples(StapleTable& table, const std::set<StapleKey>& keys) noexcept
{
    for (std::uint32_t at = 0; at < kMaxStaples; ++at) {
        if (table.staples[at].size != 0 && !keys.contains(table.staples[at].key)) {
            write_staple(table, at, StapleKey{}, {}, 0);
        }
    }
}

} // namespace ladle::shm
