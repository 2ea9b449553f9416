// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/address_turn.h"

#include <algorithm>

namespace ladle::worker {

namespace {

/// 2^32 / the golden ratio: its multiples spread over the circle so evenly that a handful of connections has the right shares too
/// (a Weyl sequence), with no state but a count.
constexpr std::uint32_t kGoldenStride = 2'654'435'769u;

} // namespace

std::size_t first_address(const std::vector<shm::ServerAddress>& addresses, std::uint32_t turn) noexcept
{
    std::uint64_t total = 0;
    bool are_equal = true;
    for (const shm::ServerAddress& address : addresses) {
        total += address.weight;
        are_equal &= address.weight == addresses.front().weight;
    }
    if (are_equal) {
        return turn % addresses.size();
    }
    const std::uint32_t point = turn * kGoldenStride;
    std::uint64_t rest = point * total >> 32;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        if (rest < addresses[i].weight) {
            return i;
        }
        rest -= addresses[i].weight;
    }
    return 0; // not reached: rest is less than the total
}

} // namespace ladle::worker
