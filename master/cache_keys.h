// SPDX-License-Identifier: Apache-2.0
//
// Under which keys of the cache a URL's responses may lie. Every route may make its keys in its own way (setting cache.key), and a
// URL on the command line does not say which route serves it: so all ways that the configuration knows are taken, of which there
// are few. Used by `ladle purge` and `ladle cache`; pure.
#pragma once

#include "common/base/error.h"
#include "common/config/config.h"

#include <set>
#include <string>
#include <string_view>

namespace ladle::master {

/// The keys' part that purges know (without chosen headers and cookies). Fails where the text is no http or https URL.
Result<std::set<std::string>> keys_of(const config::Config& config, std::string_view url);

/// What the keys of all URLs that begin so begin with. A host stands for all of its paths; where a route's key holds only some of
/// the query's parameters, those of the prefix do not count.
Result<std::set<std::string>> key_prefixes_of(const config::Config& config, std::string_view prefix);

} // namespace ladle::master
