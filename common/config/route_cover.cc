// SPDX-License-Identifier: Apache-2.0
#include "common/config/route_cover.h"

#include "common/config/names.h"
#include "common/http/media_type.h"

#include <algorithm>
#include <functional>

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

/// Each of `narrow`'s alternatives, of which there are some, is in one of `wide`'s.
template <typename T, typename Covers>
bool covers_list(const std::vector<T>& wide, const std::vector<T>& narrow, Covers covers_one)
{
    const auto is_covered = [&](const T& item) {
        return std::any_of(wide.begin(), wide.end(), [&](const T& by) { return covers_one(by, item); });
    };
    return wide.empty() || (!narrow.empty() && std::all_of(narrow.begin(), narrow.end(), is_covered));
}

/// "text/*" is asked for wherever "text/html" is.
bool accept_covers(const std::string& wide, const std::string& narrow)
{
    return wide == narrow || (wide.ends_with("/*") && narrow.starts_with(std::string_view(wide).substr(0, wide.size() - 1)));
}

bool range_covers(const Cidr& wide, const Cidr& narrow)
{
    if (wide.prefix_bits > narrow.prefix_bits) {
        return false;
    }
    for (unsigned bit = 0; bit < wide.prefix_bits; ++bit) {
        if (((wide.address[bit / 8] ^ narrow.address[bit / 8]) & (0x80u >> (bit % 8))) != 0) {
            return false;
        }
    }
    return true;
}

/// What `narrow` asks for, or its path ends with, is always of one of the kinds.
bool covers_kinds(const Match& wide, const Match& narrow)
{
    if (wide.file_kinds == 0 || (narrow.file_kinds != 0 && (narrow.file_kinds & ~wide.file_kinds) == 0)) {
        return true;
    }
    const auto kind = http::kind_of_path(narrow.path); // what follows a '*' ends every path that matches
    return kind && (wide.file_kinds >> static_cast<unsigned>(*kind) & 1u) != 0;
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

RE2::Options regex_options()
{
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    return options;
}

bool looks_beyond_url(const Match& match) noexcept
{
    return !match.headers.empty() || !match.cookies.empty() || !match.content_types.empty() || !match.accepts.empty() ||
           !match.clients.empty() || !match.countries.empty();
}

std::vector<std::string> hosts_of(const Site& site)
{
    std::vector<std::string> out = site.aliases;
    out.push_back(site.name);
    return out;
}

bool covers(const Match& wide, const RE2* wide_regex, const Match& narrow, const std::vector<std::string>& site_hosts)
{
    return covers_path(wide, wide_regex, narrow) && covers_hosts(wide, narrow, site_hosts) && covers_methods(wide, narrow) &&
           covers_named(wide.headers, narrow.headers) && covers_named(wide.query, narrow.query) &&
           covers_named(wide.cookies, narrow.cookies) && covers_list(wide.content_types, narrow.content_types, glob_covers) &&
           covers_list(wide.accepts, narrow.accepts, accept_covers) && covers_kinds(wide, narrow) &&
           (wide.scheme.empty() || wide.scheme == narrow.scheme) && covers_list(wide.clients, narrow.clients, range_covers) &&
           covers_list(wide.countries, narrow.countries, std::equal_to<>());
}

} // namespace ladle::config
