// SPDX-License-Identifier: Apache-2.0
// URLs, keys and references: a normalised URL is its own normal form, a resolved reference is a URL of ours, and nothing that a
// client sends puts a line into a key.
#include "common/http/cache_key.h"
#include "common/http/invalidation.h"
#include "tests/fuzz/require.h"

#include <algorithm>

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    if (!is_one_line(input)) {
        return 0;
    }
    const std::string resolved = resolve_reference("http://a.example/b/c/d;p?q", input);
    if (!resolved.empty()) {
        KeyTarget target;
        REQUIRE(split_url(resolved, target) && target.path.starts_with('/') && resolved.find('#') == std::string::npos);
        REQUIRE((std::string(target.path) + "/").find("/../") == std::string::npos || input.find('%') != std::string_view::npos);
        REQUIRE(resolve_reference(resolved, "") == resolved);
        REQUIRE(is_same_origin(resolved, resolved));
    }
    KeyTarget target;
    if (!split_url(input, target)) {
        return 0;
    }
    std::string once;
    append_url(target, once);
    REQUIRE(split_url(once, target));
    std::string twice;
    append_url(target, twice);
    REQUIRE(once == twice && std::count(once.begin(), once.end(), '\n') == 0);
    const auto rules = parse_key_rules({"host", "path", "query:!utm_*,*id", "query:sorted"});
    std::string key;
    append_key(target, nullptr, *rules, key);
    const std::string query = key.substr(std::min(key.find('?'), key.size()));
    REQUIRE(is_one_line(key) && query.find("&utm_") == std::string::npos && !query.starts_with("?utm_"));
    return 0;
}
