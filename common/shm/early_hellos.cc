// SPDX-License-Identifier: Apache-2.0
#include "common/shm/early_hellos.h"

#include <algorithm>
#include <iterator>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kMark = 0xffffffff00000000;

bool is_remembered(std::uint64_t hello, std::uint64_t now_s) noexcept
{
    return hello != 0 && (hello & ~kMark) + kEarlyWindowS >= now_s;
}

} // namespace

bool admit_hello(EarlyHellos& table, std::uint64_t hash, std::uint64_t now_s) noexcept
{
    auto& hellos = table.sets[hash % kEarlySets].hellos;
    const std::uint64_t mine = (hash & kMark) | (now_s & ~kMark);
    const auto count = [&] {
        return std::count_if(std::begin(hellos), std::end(hellos), [&](const std::atomic<std::uint64_t>& at) {
            const std::uint64_t hello = at.load();
            return (hello & kMark) == (mine & kMark) && is_remembered(hello, now_s);
        });
    };
    if (count() > 0) {
        return false;
    }
    for (std::atomic<std::uint64_t>& at : hellos) {
        std::uint64_t present = at.load();
        if (!is_remembered(present, now_s) && at.compare_exchange_strong(present, mine)) {
            return count() == 1; // else another worker has just brought it
        }
    }
    return false;
}

} // namespace ladle::shm
