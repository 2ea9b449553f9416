// SPDX-License-Identifier: Apache-2.0
#include "worker/route/split.h"

#include "common/base/assert.h"
#include "common/http/cookies.h"
#include "worker/net/address.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kSeed = 0x6C61646C65; // for ever the same: another one would move every client

/// Of an IPv6 address its /64: within that a client changes its address at will.
std::uint64_t hash_of_client(std::string_view client)
{
    const auto address = parse_address(client);
    if (!address) {
        return XXH3_64bits_withSeed(client.data(), client.size(), kSeed);
    }
    std::array<std::uint8_t, 16> kept = *address;
    constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    if (std::memcmp(kept.data(), kMapped.data(), kMapped.size()) != 0) {
        std::fill(kept.begin() + 8, kept.end(), std::uint8_t{0});
    }
    return XXH3_64bits_withSeed(kept.data(), kept.size(), kSeed);
}

/// The value of the first cookie of that name; empty where there is none.
std::string_view find_cookie(const http::Fields& fields, std::string_view wanted)
{
    std::string_view found;
    http::any_cookie(fields, [&](std::string_view name, std::string_view value) {
        found = name == wanted ? value : std::string_view{};
        return name == wanted;
    });
    return found;
}

} // namespace

std::uint32_t choose_share(const config::Route& route, std::string_view client, const http::Fields& fields)
{
    LADLE_ASSERT(!route.split.empty());
    std::string_view text;
    if (route.split_by.kind == config::SplitKey::Kind::cookie) {
        text = find_cookie(fields, route.split_by.name);
    } else if (route.split_by.kind == config::SplitKey::Kind::header) {
        const http::Field* field = fields.find(route.split_by.name);
        text = field == nullptr ? std::string_view{} : fields.value(*field);
    }
    const std::uint64_t hash = text.empty() ? hash_of_client(client) : XXH3_64bits_withSeed(text.data(), text.size(), kSeed);
    std::uint64_t total = 0;
    for (const config::SplitShare& share : route.split) {
        total += share.weight;
    }
    // 32 bits of the hash as a fraction; weights are at most a million, so nothing overflows.
    std::uint64_t point = (hash >> 32) * total >> 32;
    for (const config::SplitShare& share : route.split) {
        if (point < share.weight) {
            return share.upstream;
        }
        point -= share.weight;
    }
    return route.split.back().upstream;
}

} // namespace ladle::worker
