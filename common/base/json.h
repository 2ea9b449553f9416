// SPDX-License-Identifier: Apache-2.0
//
// nlohmann::json, compiled once: include this in place of <nlohmann/json.hpp>. The library is of templates only; each file that
// parses or prints JSON would spend seconds (with sanitizers 5 to 8) on what json.cc has for all.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<>;

namespace ladle {

/// What the text says; json.is_discarded() where it is no JSON.
nlohmann::json parse_json(std::string_view text);

} // namespace ladle
