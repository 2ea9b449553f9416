// SPDX-License-Identifier: Apache-2.0
//
// An example of what each route makes of a path (strip, rewrite, redirect), for `ladle check`: nobody should have to find out in
// production what $1 was. An example is only shown where the route takes it. Pure; runs in the user's process.
#pragma once

#include "common/config/config.h"

#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

/// A line for each route that changes paths: `www.example.com "api": /v2/example -> /example`.
std::vector<std::string> path_examples(const Config& config);

/// A text that the expression matches, or one near to it: literals, the first of each choice, repetitions once.
std::string text_for(std::string_view expression);

} // namespace ladle::config
