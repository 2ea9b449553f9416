// SPDX-License-Identifier: Apache-2.0
#include "worker/route/split.h"

#include "common/base/assert.h"
#include "common/http/cookies.h"
#include "worker/net/address.h"

#include <xxhash.h>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kSplitSeed = 0x6C61646C65; // for ever the same: another one would move every client

} // namespace

std::uint32_t choose_share(const config::Route& route, std::string_view client, const http::Fields& fields)
{
    LADLE_ASSERT(!route.split.empty());
    std::string_view text;
    if (route.split_by.kind == config::SplitKey::Kind::cookie) {
        text = http::find_cookie(fields, route.split_by.name);
    } else if (route.split_by.kind == config::SplitKey::Kind::header) {
        const http::Field* field = fields.find(route.split_by.name);
        text = field == nullptr ? std::string_view{} : fields.value(*field);
    }
    const std::uint64_t hash = text.empty() ? hash_of_client(client, kSplitSeed)
                                                    : XXH3_64bits_withSeed(text.data(), text.size(), kSplitSeed);
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
