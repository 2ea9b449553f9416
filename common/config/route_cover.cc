// SPDX-License-Identifier: Apache-2.0
#include "common/config/route_cover.h"

#include "common/config/names.h"

#include <algorithm>

namespace ladle::config {

namespace {

bool is_exact(const std::string& path)
{
    return !path.empty() && path.find('*') == std::string::npos;
}

bool covers_path(const Match& wide, const RE2* wide_regex, const Match& narrow)
{
    if (!wide.path.empty() && wide.path != "*" && wide.path != "/*") {
        if (narrow.path.empty() || !glob_covers(wide.path, narrow.path)) {
            return false;
        }
    }
    if (wide.path_regex.empty() || wide.path_regex == narrow.path_regex) {
        return true;
    }
    return wide_regex != nullptr && is_exact(narrow.path) && RE2::FullMatch(narrow.path, *wide_regex);
}

bool covers_hosts(const Match& wide, const Match& narrow, const std::vector<std::string>& site_hosts)
{
    if (wide.hosts.empty()) {
        return true;
    }
    const std::vector<std::string>& wanted = narrow.hosts.empty() ? site_hosts : narrow.hosts;
    return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& host) {
        return std::any_of(wide.hosts.begin(), wide.hosts.end(), [&](const std::string& by) { return host_covers(by, host); });
    });
}

bool covers_methods(const Match& wide, const Match& narrow)
{
    if (wide.methods.empty()) {
        return true;
    }
    return !narrow.methods.empty() && std::all_of(narrow.methods.begin(), narrow.methods.end(), [&](const std::string& method) {
        return std::find(wide.methods.begin(), wide.methods.end(), method) != wide.methods.end();
    });
}

/// Each test of `wide` follows from one of `narrow`.
bool covers_named(const std::vector<NamedMatch>& wide, const std::vector<NamedMatch>& narrow)
{
    return std::all_of(wide.begin(), wide.end(), [&](const NamedMatch& test) {
        return std::any_of(narrow.begin(), narrow.end(), [&](const NamedMatch& other) {
            return other.name == test.name && glob_covers(test.pattern, other.pattern);
        });
    });
}

} // namespace

std::vector<std::string> hosts_of(const Site& site)
{
    std::vector<std::string> out = site.aliases;
    out.push_back(site.name);
    return out;
}

bool covers(const Match& wide, const RE2* wide_regex, const Match& narrow, const std::vector<std::string>& site_hosts)
{
    return covers_path(wide, wide_regex, narrow) && covers_hosts(wide, narrow, site_hosts) && covers_methods(wide, narrow) &&
           covers_named(wide.headers, narrow.headers) && covers_named(wide.query, narrow.query);
}

} // namespace ladle::config
