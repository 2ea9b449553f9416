// SPDX-License-Identifier: Apache-2.0
//
// Whether a route takes every request that a later one would: then the later one can never match, which is an error (config.md,
// rule 4). Judges one route against one other, and errs to "no": two routes that hide a third only together are not found.
#pragma once

#include "common/config/config.h"

#include <re2/re2.h>

#include <string>
#include <vector>

namespace ladle::config {

/// How routes' expressions are compiled, here and in the router.
RE2::Options regex_options();

/// A site's names and aliases: what `host` of a route without one stands for.
std::vector<std::string> hosts_of(const Site& site);

/// Whether every request that `narrow` matches is matched by `wide`. `wide_regex` is wide.path_regex compiled, or null.
bool covers(const Match& wide, const RE2* wide_regex, const Match& narrow, const std::vector<std::string>& site_hosts);

} // namespace ladle::config
