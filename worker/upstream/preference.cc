// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/preference.h"

#include "common/http/cookies.h"
#include "worker/net/address.h"

#include <xxhash.h>

#include <algorithm>

namespace ladle::worker {

namespace {

// For ever the same; and not that of `split`, whose shares would be uneven here.
constexpr std::uint64_t kPreferenceSeed = 0x686173686B6579;

std::uint64_t hash(std::string_view text, std::uint64_t seed) noexcept
{
    return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

std::string_view find_header(const http::Fields& fields, std::string_view name)
{
    const http::Field* field = fields.find(name);
    return field == nullptr ? std::string_view{} : fields.value(*field);
}

/// The first argument of that name, as it was sent; empty where there is none.
std::string_view find_argument(std::string_view query, std::string_view name)
{
    while (!query.empty()) {
        const std::string_view argument = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(argument.size() + 1, query.size()));
        if (argument.size() > name.size() && argument[name.size()] == '=' && argument.starts_with(name)) {
            return argument.substr(name.size() + 1);
        }
    }
    return {};
}

std::optional<std::uint64_t> key_of(const Request& request, const config::HashKey& key)
{
    std::string_view text;
    switch (key.kind) {
    case config::HashKey::Kind::client:
        return hash_of_client(request.client_address, kPreferenceSeed);
    case config::HashKey::Kind::header:
        text = find_header(request.head.fields, key.name);
        break;
    case config::HashKey::Kind::cookie:
        text = http::find_cookie(request.head.fields, key.name);
        break;
    case config::HashKey::Kind::query:
        text = find_argument(request.target.query, key.name);
        break;
    case config::HashKey::Kind::path:
        return hash(request.path, kPreferenceSeed);
    case config::HashKey::Kind::url:
        return hash(request.target.query, hash(request.path, hash(request.host, kPreferenceSeed)));
    }
    return text.empty() ? std::nullopt : std::optional(hash(text, kPreferenceSeed));
}

} // namespace

Preference preference_of(const Request& request, const Upstream& upstream)
{
    Preference preference{std::nullopt, request.sticky_member};
    if (upstream.settings().balance == config::Balance::hash) {
        preference.key = key_of(request, upstream.settings().hash_key);
    }
    return preference;
}

} // namespace ladle::worker
