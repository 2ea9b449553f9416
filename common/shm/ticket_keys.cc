// SPDX-License-Identifier: Apache-2.0
#include "common/shm/ticket_keys.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace ladle::shm {

namespace {

constexpr std::size_t kWords = sizeof(TicketKeySet) / sizeof(std::uint64_t);
constexpr int kMostReads = 100; // a writer is done in a microsecond, or dead
static_assert(sizeof(TicketKeySet) == kWords * sizeof(std::uint64_t));

bool fill_randomly(std::span<TicketKey> keys) noexcept
{
    return ::getrandom(keys.data(), keys.size_bytes(), 0) == static_cast<ssize_t>(keys.size_bytes());
}

void write_keys(TicketKeys& keys, const TicketKeySet& set, std::uint64_t now_s) noexcept
{
    std::uint64_t words[kWords];
    std::memcpy(words, set.data(), sizeof words);
    const std::uint64_t begun = keys.sequence.load(std::memory_order_relaxed) | 1u;
    keys.sequence.store(begun, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t at = 0; at < kWords; ++at) {
        keys.words[at].store(words[at], std::memory_order_relaxed);
    }
    keys.since_s.store(now_s, std::memory_order_relaxed);
    keys.sequence.store(begun + 1, std::memory_order_release);
}

} // namespace

std::optional<TicketKeySet> read_ticket_keys(const TicketKeys& keys) noexcept
{
    for (int tries = 0; tries < kMostReads; ++tries) {
        const std::uint64_t before = keys.sequence.load(std::memory_order_acquire);
        if (before == 0) {
            return std::nullopt;
        }
        std::uint64_t words[kWords];
        for (std::size_t at = 0; at < kWords; ++at) {
            words[at] = keys.words[at].load(std::memory_order_relaxed);
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (before % 2 == 0 && keys.sequence.load(std::memory_order_relaxed) == before) {
            TicketKeySet set;
            std::memcpy(set.data(), words, sizeof words);
            return set;
        }
    }
    return std::nullopt;
}

void restore_ticket_keys(TicketKeys& keys, const TicketKeySet& set, std::uint64_t since_s) noexcept
{
    write_keys(keys, set, since_s);
}

void adopt_ticket_keys(TicketKeys& keys, std::span<const std::string_view> given, std::uint64_t now_s) noexcept
{
    const auto key_at = [&given](std::size_t at) {
        const char* bytes = given[std::min(at, given.size() - 1)].data();
        TicketKey key{};
        std::memcpy(key.name.data(), bytes, key.name.size());
        std::memcpy(key.mac.data(), bytes + key.name.size(), key.mac.size());
        std::memcpy(key.cipher.data(), bytes + key.name.size() + key.mac.size(), key.cipher.size());
        return key;
    };
    const TicketKeySet set{key_at(1), key_at(0), key_at(2)};
    const std::optional<TicketKeySet> present = read_ticket_keys(keys);
    if (!present || std::memcmp(present->data(), set.data(), sizeof set) != 0) {
        write_keys(keys, set, now_s);
    }
}

bool tend_ticket_keys(TicketKeys& keys, std::uint64_t now_s, std::uint64_t period_s) noexcept
{
    const std::optional<TicketKeySet> present = read_ticket_keys(keys);
    TicketKeySet set;
    if (!present) {
        if (!fill_randomly(set)) {
            return false;
        }
        write_keys(keys, set, now_s);
        return true;
    }
    const std::uint64_t since_s = keys.since_s.load(std::memory_order_relaxed);
    if (now_s >= since_s && now_s - since_s < period_s) { // a clock that was set back also brings a new key
        return true;
    }
    set = {TicketKey{}, (*present)[0], (*present)[1]};
    if (!fill_randomly(std::span(set).first(1))) {
        return false;
    }
    write_keys(keys, set, now_s);
    return true;
}

} // namespace ladle::shm
