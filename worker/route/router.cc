// SPDX-License-Identifier: Apache-2.0
#include "worker/route/router.h"

#include "common/base/assert.h"
#include "common/config/names.h"
#include "common/config/route_cover.h"
#include "common/http/cookies.h"
#include "common/http/media_type.h"

#include <algorithm>
#include <string_view>

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

/// Whether some cookie of the name has a value that fits; names of cookies have case.
bool has_cookie(const http::Fields& fields, const config::NamedMatch& match)
{
    return http::any_cookie(fields, [&](std::string_view name, std::string_view value) {
        return name == match.name && config::match_glob(match.pattern, value);
    });
}

/// Of several Content-Type fields, which servers read differently, none fits.
bool has_content_type(const http::Fields& fields, const std::vector<std::string>& patterns)
{
    const std::string_view type = http::media_type_of(fields.value_of(http::FieldName::content_type));
    char lower[128];
    if (type.empty() || type.size() > sizeof lower || fields.count(http::FieldName::content_type) != 1) {
        return false;
    }
    std::transform(type.begin(), type.end(), lower, http::to_lower);
    const std::string_view folded(lower, type.size());
    return std::ranges::any_of(patterns, [&](const std::string& pattern) { return config::match_glob(pattern, folded); });
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
        SiteRoutes& compiled = routes_.emplace_back();
        compiled.routes.reserve(site.routes.size());
        for (const config::Route& route : site.routes) {
            compiled.routes.push_back(compile(route));
            compiled.asks_for_client =
                compiled.asks_for_client || !route.match.clients.empty() || !route.match.countries.empty();
        }
        make_groups(compiled);
    }
}

Router::CompiledRoute Router::compile(const config::Route& route)
{
    const config::Match& match = route.match;
    CompiledRoute out{&route, PathKind::any, false, match.path, {}, nullptr, kNoGroup, {}};
    out.has_more = !match.cookies.empty() || !match.content_types.empty() || !match.accepts.empty() || match.file_kinds != 0 ||
                   !match.scheme.empty() || !match.clients.empty() || !match.countries.empty() || !match.hosts.empty();
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
    if (!match.path_regex.empty()) {
        out.regex = std::make_unique<RE2>(match.path_regex, config::regex_options());
        LADLE_ASSERT(out.regex->ok()); // load() has compiled it before
        out.regex_begins = literal_beginning(match.path_regex);
    }
    for (const config::NamedMatch& header : match.headers) {
        out.fields.push_back({http::find_field_name(header.name), &header});
    }
    return out;
}

/// A group is asked in one pass, and then each of its expressions that may have matched by itself: with groups of about the square
/// root of their number both stay few.
void Router::make_groups(SiteRoutes& site)
{
    constexpr std::size_t kMost = 8;
    std::vector<CompiledRoute*> waiting;
    const auto close = [&] {
        if (waiting.size() > 1) {
            auto set = std::make_unique<RE2::Set>(config::regex_options(), RE2::ANCHOR_BOTH);
            for (CompiledRoute* route : waiting) {
                LADLE_ASSERT(set->Add(route->route->match.path_regex, nullptr) >= 0);
            }
            if (set->Compile()) { // else it is too large: each is asked by itself
                for (CompiledRoute* route : waiting) {
                    route->group = static_cast<std::uint32_t>(site.groups.size());
                }
                site.groups.push_back(std::move(set));
            }
        }
        waiting.clear();
    };
    for (CompiledRoute& route : site.routes) {
        if (route.regex != nullptr) {
            waiting.push_back(&route);
        }
        if (waiting.size() == kMost) {
            close();
        }
    }
    close();
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
    return true;
}

bool Router::matches_regex(const SiteRoutes& site, const CompiledRoute& route, Trial& trial)
{
    const std::string_view path = trial.query.path;
    if (!path.starts_with(route.regex_begins)) {
        return false;
    }
    const re2::StringPiece piece(path.data(), path.size());
    if (route.group != kNoGroup) {
        if (trial.group != route.group) {
            RE2::Set::ErrorInfo error{RE2::Set::kNoError};
            trial.group = route.group;
            trial.group_may_match =
                site.groups[route.group]->Match(piece, nullptr, &error) || error.kind != RE2::Set::kNoError;
        }
        if (!trial.group_may_match) {
            return false;
        }
    }
    return RE2::FullMatch(piece, *route.regex);
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

bool Router::matches_more(const config::Match& match, Trial& trial) const
{
    const RouteQuery& query = trial.query;
    const auto is_host = [host = without_dot(query.host)](const std::string& pattern) { return config::match_host(pattern, host); };
    if (!match.hosts.empty() && std::ranges::none_of(match.hosts, is_host)) {
        return false;
    }
    if (!match.scheme.empty() && match.scheme != query.scheme) {
        return false;
    }
    if (match.file_kinds != 0) {
        const auto kind = http::kind_of_path(query.path);
        if (!kind || (match.file_kinds >> static_cast<unsigned>(*kind) & 1u) == 0) {
            return false;
        }
    }
    if (!match.clients.empty() && (!trial.client || !is_in(match.clients, *trial.client))) {
        return false;
    }
    if (!match.countries.empty()) {
        if (!trial.country) {
            trial.country = trial.client && config_.countries ? config_.countries->find(*trial.client) : config::Country{};
        }
        if (std::ranges::find(match.countries, *trial.country) == match.countries.end()) {
            return false;
        }
    }
    if (!match.content_types.empty() && !has_content_type(query.fields, match.content_types)) {
        return false;
    }
    const auto is_named = [&](const std::string& type) { return http::named_quality(query.fields, type) > 0; };
    if (!match.accepts.empty() && std::ranges::none_of(match.accepts, is_named)) {
        return false;
    }
    return std::ranges::all_of(match.cookies, [&](const auto& test) { return has_cookie(query.fields, test); });
}

bool Router::matches(const SiteRoutes& site, const CompiledRoute& route, Trial& trial) const
{
    const RouteQuery& query = trial.query;
    if (!matches_path(route, query.path)) {
        return false; // before anything that lies elsewhere in memory is looked at
    }
    const config::Match& match = route.route->match;
    if (!match.methods.empty() && std::find(match.methods.begin(), match.methods.end(), query.method) == match.methods.end()) {
        return false;
    }
    if ((route.has_more && !matches_more(match, trial)) || !matches_fields(route, query.fields)) {
        return false;
    }
    return std::ranges::all_of(match.query, [&](const auto& test) { return matches_query(test, query.query); }) &&
           (route.regex == nullptr || matches_regex(site, route, trial)); // the dearest last
}

const config::Route* Router::find_route(const config::Site& site, const RouteQuery& query) const
{
    const auto index = static_cast<std::size_t>(&site - config_.sites.data());
    LADLE_ASSERT(index < routes_.size());
    const SiteRoutes& compiled = routes_[index];
    Trial trial{query, compiled.asks_for_client ? parse_address(query.client) : std::nullopt, std::nullopt};
    for (const CompiledRoute& route : compiled.routes) {
        if (matches(compiled, route, trial)) {
            return route.route;
        }
    }
    return nullptr;
}

/// Characters up to the first that means something in an expression. Where "|" stands outside of all groups there is no one
/// beginning; what a quantifier follows may be missing.
std::string literal_beginning(std::string_view expression)
{
    int depth = 0;
    for (std::size_t at = 0; at < expression.size(); ++at) {
        const char c = expression[at];
        if (c == '\\') {
            if (at + 1 < expression.size() && expression[at + 1] == 'Q') {
                return {}; // quoted to \E: rare, and not worth knowing
            }
            ++at;
        } else if (c == '[') {
            at += at + 1 < expression.size() && expression[at + 1] == '^' ? 1 : 0;
            at += at + 1 < expression.size() && expression[at + 1] == ']' ? 1 : 0; // a ']' that comes first is one of them
            while (at + 1 < expression.size() && expression[at + 1] != ']') {
                if (expression.substr(at + 1).starts_with("[:")) {
                    return {};
                }
                at += expression[at + 1] == '\\' ? 2 : 1;
            }
            ++at;
        } else if (c == '|' && depth == 0) {
            return {};
        } else {
            depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        }
    }
    expression.remove_prefix(expression.starts_with('^') ? 1 : 0);
    std::size_t end = std::min(expression.find_first_of("\\^$.[|()?*+{"), expression.size());
    if (end < expression.size() && end > 0 && std::string_view("?*+{").find(expression[end]) != std::string_view::npos) {
        --end;
        while (end > 0 && (static_cast<unsigned char>(expression[end]) & 0xC0) == 0x80) {
            --end; // the whole of a character in UTF-8
        }
    }
    return std::string(expression.substr(0, end));
}

} // namespace ladle::worker
