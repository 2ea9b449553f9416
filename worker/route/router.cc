// SPDX-License-Identifier: Apache-2.0
#include "worker/route/router.h"

#include "common/base/assert.h"
#include "common/config/names.h"

#include <algorithm>

namespace ladle::worker {

namespace {

int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// An argument's name or value as a form would send it, decoded into `scratch` where it needs to be; invalid escapes stay.
std::string_view decode(std::string_view text, std::string& scratch)
{
    if (text.find_first_of("%+") == std::string_view::npos) {
        return text;
    }
    scratch.clear();
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '%' && at + 2 < text.size() && hex_digit(text[at + 1]) >= 0 && hex_digit(text[at + 2]) >= 0) {
            scratch += static_cast<char>(hex_digit(text[at + 1]) * 16 + hex_digit(text[at + 2]));
            at += 2;
        } else {
            scratch += text[at] == '+' ? ' ' : text[at];
        }
    }
    return scratch;
}

/// "example.com." is the fully qualified form of the same name.
std::string_view without_dot(std::string_view host)
{
    return host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
}

bool equal_without_case(std::string_view lower, std::string_view any)
{
    return lower.size() == any.size() && std::equal(lower.begin(), lower.end(), any.begin(), [](char a, char b) {
               return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
           });
}

} // namespace

Router::Router(const config::Config& config) : config_(config), hosts_(config.listens.size())
{
    for (std::uint32_t index = 0; index < config.listens.size(); ++index) {
        for (const config::BindAddress& address : config.listens[index].bind) {
            listens_.emplace(address.text, index);
        }
    }
    routes_.reserve(config.sites.size());
    for (const config::Site& site : config.sites) {
        for (const std::uint32_t listen : site.listens) {
            Hosts& hosts = hosts_[listen];
            const auto add = [&](std::string_view name) {
                if (name == "*") {
                    hosts.rest = &site;
                } else if (name.starts_with("*.")) {
                    hosts.wildcards.emplace(name.substr(2), &site);
                } else {
                    hosts.exact.emplace(name, &site);
                }
            };
            add(site.name);
            std::for_each(site.aliases.begin(), site.aliases.end(), add);
        }
        std::vector<CompiledRoute>& compiled = routes_.emplace_back();
        compiled.reserve(site.routes.size());
        for (const config::Route& route : site.routes) {
            compiled.push_back(compile(route));
        }
    }
}

Router::CompiledRoute Router::compile(const config::Route& route)
{
    CompiledRoute out{&route, PathKind::any, route.match.path, nullptr, {}};
    if (const std::size_t star = out.path.find('*'); out.path.empty() || out.path == "*") {
        out.path_kind = PathKind::any;
    } else if (star == std::string_view::npos) {
        out.path_kind = PathKind::exact;
    } else if (star == out.path.size() - 1) {
        out.path_kind = PathKind::prefix;
        out.path.remove_suffix(1);
    } else {
        out.path_kind = PathKind::glob;
    }
    if (!route.match.path_regex.empty()) {
        RE2::Options options;
        options.set_log_errors(false);
        out.regex = std::make_unique<RE2>(route.match.path_regex, options);
        LADLE_ASSERT(out.regex->ok()); // load() has compiled it before
    }
    for (const config::NamedMatch& match : route.match.headers) {
        out.fields.push_back({http::find_field_name(match.name), &match});
    }
    return out;
}

std::uint32_t Router::listen_index(std::string_view bind_text) const
{
    const auto found = listens_.find(bind_text);
    return found == listens_.end() ? kNoListen : found->second;
}

const config::Site* Router::find_site(std::uint32_t listen, std::string_view host) const
{
    if (listen >= hosts_.size()) {
        return nullptr;
    }
    host = without_dot(host);
    const Hosts& hosts = hosts_[listen];
    if (const auto found = hosts.exact.find(host); found != hosts.exact.end()) {
        return found->second;
    }
    if (!hosts.wildcards.empty()) {
        // Label by label from the left: the longest wildcard comes first.
        for (std::size_t dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.', dot + 1)) {
            if (const auto found = hosts.wildcards.find(host.substr(dot + 1)); dot > 0 && found != hosts.wildcards.end()) {
                return found->second;
            }
        }
    }
    return hosts.rest;
}

bool Router::matches_path(const CompiledRoute& route, std::string_view path)
{
    switch (route.path_kind) {
    case PathKind::any:
        break;
    case PathKind::exact:
        if (path != route.path) {
            return false;
        }
        break;
    case PathKind::prefix:
        if (!path.starts_with(route.path)) {
            return false;
        }
        break;
    case PathKind::glob:
        if (!config::match_glob(route.path, path)) {
            return false;
        }
        break;
    }
    return route.regex == nullptr || RE2::FullMatch(re2::StringPiece(path.data(), path.size()), *route.regex);
}

bool Router::matches_fields(const CompiledRoute& route, const http::Fields& fields)
{
    return std::all_of(route.fields.begin(), route.fields.end(), [&](const FieldTest& test) {
        if (test.id != http::FieldName::other && !fields.has(test.id)) {
            return false;
        }
        return std::any_of(fields.begin(), fields.end(), [&](const http::Field& field) {
            return field.id == test.id &&
                   (test.id != http::FieldName::other || equal_without_case(test.match->name, fields.name(field))) &&
                   config::match_glob(test.match->pattern, fields.value(field));
        });
    });
}

bool Router::matches_query(const config::NamedMatch& match, std::string_view query) const
{
    while (!query.empty()) {
        const std::size_t end = std::min(query.find('&'), query.size());
        const std::string_view argument = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        const std::size_t equals = std::min(argument.find('='), argument.size());
        if (decode(argument.substr(0, equals), decoded_) == match.name &&
            config::match_glob(match.pattern, decode(argument.substr(std::min(equals + 1, argument.size())), decoded_))) {
            return true;
        }
    }
    return false;
}

bool Router::matches(const CompiledRoute& route, const RouteQuery& query) const
{
    const config::Match& match = route.route->match;
    if (!match.methods.empty() && std::find(match.methods.begin(), match.methods.end(), query.method) == match.methods.end()) {
        return false;
    }
    if (!matches_path(route, query.path)) {
        return false;
    }
    const std::string_view host = without_dot(query.host);
    const auto is_host = [&](const std::string& pattern) { return config::match_host(pattern, host); };
    if (!match.hosts.empty() && std::none_of(match.hosts.begin(), match.hosts.end(), is_host)) {
        return false;
    }
    return matches_fields(route, query.fields) &&
           std::all_of(match.query.begin(), match.query.end(), [&](const auto& test) { return matches_query(test, query.query); });
}

const config::Route* Router::find_route(const config::Site& site, const RouteQuery& query) const
{
    const auto index = static_cast<std::size_t>(&site - config_.sites.data());
    LADLE_ASSERT(index < routes_.size());
    for (const CompiledRoute& route : routes_[index]) {
        if (matches(route, query)) {
            return route.route;
        }
    }
    return nullptr;
}

} // namespace ladle::worker
