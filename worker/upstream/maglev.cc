// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/maglev.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>

namespace ladle::worker {

namespace {

// For ever the same: another one would move every key.
constexpr std::uint64_t kMaglevSeed = 0x6D61676C6576;
// A prime, so that every walk meets every slot; and one for all, as another size would move nearly every key.
constexpr std::uint32_t kSlots = 65537;
constexpr std::uint16_t kFree = std::numeric_limits<std::uint16_t>::max();

/// One server's way through the slots.
struct Walk {
    const Maglev::Entry* entry;
    std::uint32_t at;
    std::uint32_t step;
    std::uint64_t credit = 0;
};

} // namespace

Maglev::Maglev(std::span<const Entry> entries)
{
    if (entries.empty()) {
        return;
    }
    slots_.assign(kSlots, kFree);
    std::vector<Walk> walks;
    std::uint32_t most = 0;
    for (const Entry& entry : entries) {
        const XXH128_hash_t hash = XXH3_128bits_withSeed(entry.name.data(), entry.name.size(), kMaglevSeed);
        walks.push_back({&entry, static_cast<std::uint32_t>(hash.low64 % kSlots),
                         static_cast<std::uint32_t>(hash.high64 % (kSlots - 1) + 1)});
        most = std::max(most, entry.weight);
    }
    std::sort(walks.begin(), walks.end(), [](const Walk& a, const Walk& b) { return a.entry->name < b.entry->name; });
    for (std::uint32_t taken = 0;;) {
        for (Walk& walk : walks) {
            walk.credit += walk.entry->weight;
            if (walk.credit < most) {
                continue;
            }
            walk.credit -= most;
            while (slots_[walk.at] != kFree) {
                walk.at = (walk.at + walk.step) % kSlots;
            }
            slots_[walk.at] = walk.entry->value;
            if (++taken == kSlots) {
                return;
            }
        }
    }
}

} // namespace ladle::worker
