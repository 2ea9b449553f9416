// SPDX-License-Identifier: Apache-2.0
//
// Loading a configuration from text in a unit test: no file is touched.
#pragma once

#include "common/config/loader.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

namespace ladle::test {

/// Loads `toml` as the file "x.toml"; `others` are further files, and what the patterns in `expansions` match.
inline config::LoadResult load_text(const std::string& toml, std::map<std::string, std::string> others = {},
                                    std::map<std::string, std::vector<std::string>> expansions = {})
{
    others["x.toml"] = toml;
    config::BundleFiles files(config::Recording{std::move(others), std::move(expansions)});
    return config::load(files, "x.toml");
}

/// What loading `toml` says, as text.
inline std::string complaints(const std::string& toml, std::map<std::string, std::string> others = {},
                              std::map<std::string, std::vector<std::string>> expansions = {})
{
    const config::LoadResult result = load_text(toml, std::move(others), std::move(expansions));
    CHECK(config::has_errors(result.diagnostics) == (result.config == nullptr));
    return config::to_text(result.diagnostics);
}

/// Checks that loading `toml` prints exactly `expected`. Both begin with a line break, which does not count.
inline void check_says(std::string_view toml, std::string_view expected)
{
    CHECK(complaints(std::string(toml.substr(1))) == expected.substr(1));
}

/// The same of a site with an upstream, its first two lines, of which `rest` is the rest.
inline void check_says_of_site(std::string_view rest, std::string_view expected)
{
    std::string toml = "\n[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n";
    toml += rest.substr(1);
    check_says(toml, expected);
}

/// The configuration of a text that must be without errors.
inline std::shared_ptr<const config::Config> load_good(const std::string& toml, std::map<std::string, std::string> others = {},
                                                       std::map<std::string, std::vector<std::string>> expansions = {})
{
    config::LoadResult result = load_text(toml, std::move(others), std::move(expansions));
    INFO(config::to_text(result.diagnostics));
    REQUIRE(result.config != nullptr);
    return result.config;
}

} // namespace ladle::test
