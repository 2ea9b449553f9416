// SPDX-License-Identifier: Apache-2.0
//
// How many views of each entry this process holds, in private memory: the entry's pin bit of this row stands while the count is not
// 0. Few entries are in use at a time, so this is a small open-addressed table (linear probing, removal by shifting back).
// One per CacheStore; one thread.
#pragma once

#include "common/shm/cache_layout.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ladle::shm {

class CacheUses {
public:
    CacheUses() : places_(kFirst) {}

    /// True when it is the first use.
    bool add(const CacheEntry* entry)
    {
        if (used_ * 2 >= places_.size()) {
            enlarge();
        }
        Place& place = places_[find(entry)];
        used_ += place.entry == nullptr;
        place.entry = entry;
        return ++place.count == 1;
    }

    /// True when it was the last use.
    bool remove(const CacheEntry* entry) noexcept
    {
        std::size_t hole = find(entry);
        if (places_[hole].entry == nullptr || --places_[hole].count != 0) {
            return false;
        }
        for (std::size_t at = hole + 1;; ++at) {
            const Place& place = places_[at & (places_.size() - 1)];
            if (place.entry == nullptr) {
                break;
            }
            // It may move back only if its home is not between the hole and it.
            if (((at - home(place.entry)) & (places_.size() - 1)) >= ((at - hole) & (places_.size() - 1))) {
                places_[hole & (places_.size() - 1)] = place;
                hole = at;
            }
        }
        places_[hole & (places_.size() - 1)] = {};
        --used_;
        return true;
    }

    std::uint32_t count(const CacheEntry* entry) const noexcept { return places_[find(entry)].count; }
    std::size_t size() const noexcept { return used_; }

private:
    static constexpr std::size_t kFirst = 256;
    struct Place {
        const CacheEntry* entry = nullptr;
        std::uint32_t count = 0;
    };

    std::size_t home(const CacheEntry* entry) const noexcept
    {
        return static_cast<std::size_t>((reinterpret_cast<std::uintptr_t>(entry) >> 5) * 0x9e3779b97f4a7c15u >> 32) &
               (places_.size() - 1);
    }
    std::size_t find(const CacheEntry* entry) const noexcept
    {
        std::size_t at = home(entry);
        while (places_[at].entry != nullptr && places_[at].entry != entry) {
            at = (at + 1) & (places_.size() - 1);
        }
        return at;
    }
    void enlarge()
    {
        std::vector<Place> old(places_.size() * 2);
        old.swap(places_);
        for (const Place& place : old) {
            if (place.entry != nullptr) {
                places_[find(place.entry)] = place;
            }
        }
    }

    std::vector<Place> places_;
    std::size_t used_ = 0;
};

} // namespace ladle::shm
