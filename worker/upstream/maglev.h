// SPDX-License-Identifier: Apache-2.0
//
// Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4): a table of
// slots, each with a server; a key's slot is its hash. Every server walks the slots in an order made of its name, and takes the
// next free one when its turn comes, which is as often as its weight says. So shares are exact to a slot, few keys move when
// servers come and go, and every process, restart and order in the file gives the same table. A lookup is one read.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ladle::worker {

class Maglev {
public:
    struct Entry {
        std::string_view name;
        std::uint32_t weight; ///< at least 1
        std::uint16_t value;  ///< what find() gives
    };
    Maglev() = default;
    explicit Maglev(std::span<const Entry> entries);

    bool is_empty() const noexcept { return slots_.empty(); }
    /// Precondition: it is not empty; all bits of `hash` are good.
    std::uint16_t find(std::uint64_t hash) const noexcept
    {
        return slots_[static_cast<std::size_t>((hash >> 32) * slots_.size() >> 32)];
    }

private:
    std::vector<std::uint16_t> slots_;
};

} // namespace ladle::worker
