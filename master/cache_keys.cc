// SPDX-License-Identifier: Apache-2.0
#include "master/cache_keys.h"

#include "common/http/cache_key.h"

#include <fmt/format.h>

namespace ladle::master {

namespace {

Result<http::KeyTarget> split(std::string_view url)
{
    http::KeyTarget target;
    if (!http::split_url(url, target)) {
        return fail(Origin::local, fmt::format("expected a URL such as \"http://example.com/path\", got \"{}\"", url));
    }
    return target;
}

/// Calls `add` with the rules of every route that caches, and with those that routes have by default.
template <typename Add>
void for_each_rules(const config::Config& config, Add add)
{
    add(http::KeyRules{});
    for (const config::Site& site : config.sites) {
        for (const config::Route& route : site.routes) {
            if (route.cache) {
                add(route.cache->key);
            }
        }
    }
}

} // namespace

Result<std::set<std::string>> keys_of(const config::Config& config, std::string_view url)
{
    const auto target = split(url);
    if (!target) {
        return std::unexpected(target.error());
    }
    std::set<std::string> keys;
    for_each_rules(config, [&](const http::KeyRules& rules) {
        std::string key;
        http::append_key(*target, nullptr, rules, key);
        keys.insert(std::move(key));
    });
    return keys;
}

Result<std::set<std::string>> key_prefixes_of(const config::Config& config, std::string_view prefix)
{
    const auto target = split(prefix);
    if (!target) {
        return std::unexpected(target.error());
    }
    std::set<std::string> prefixes;
    for_each_rules(config, [&](const http::KeyRules& rules) {
        http::KeyTarget beginning = *target;
        if (rules.query != http::QueryPart::all || rules.sorts_query) {
            beginning.has_query = false;
        }
        std::string key;
        http::append_key(beginning, nullptr, rules, key);
        prefixes.insert(std::move(key));
    });
    return prefixes;
}

} // namespace ladle::master
