// SPDX-License-Identifier: Apache-2.0
//
// [[site."NAME".route]]: what a route matches and what becomes of the request, and the search for routes that can never match.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/route_cover.h"
#include "common/http/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <tuple>

namespace ladle::config {

namespace {

constexpr std::size_t kMaxRegexBytes = 4096;

bool is_token(std::string_view text)
{
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               kMarks.find(c) != std::string_view::npos;
    });
}

bool is_blank(char c)
{
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
}

/// A path pattern in the form that the paths of requests have when routes are matched: percent-encoded outside ASCII, normalised.
std::string as_received(std::string_view pattern)
{
    std::string encoded;
    for (std::size_t at = 0; at < pattern.size(); ++at) {
        const bool is_escape = pattern[at] == '%' && at + 2 < pattern.size() &&
                               std::isxdigit(static_cast<unsigned char>(pattern[at + 1])) &&
                               std::isxdigit(static_cast<unsigned char>(pattern[at + 2]));
        if (static_cast<unsigned char>(pattern[at]) >= 0x80 || (pattern[at] == '%' && !is_escape)) {
            encoded += fmt::format("%{:02X}", static_cast<unsigned char>(pattern[at]));
        } else {
            encoded += pattern[at];
        }
    }
    // A pattern may begin with "*", a path never does.
    const std::size_t stars = encoded.starts_with('*') ? 1 : 0;
    if (!std::string_view(encoded).substr(stars).starts_with('/')) {
        return encoded;
    }
    std::string normalised;
    http::normalise_path(std::string_view(encoded).substr(stars), normalised);
    return encoded.substr(0, stars) + normalised;
}

std::string upper(std::string text)
{
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return text;
}

RE2::Options regex_options()
{
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    return options;
}

/// Whether the checker refused the value or a part of it.
bool is_bad(const Node& node)
{
    return node.state == Node::State::bad || std::any_of(node.children.begin(), node.children.end(), is_bad);
}

/// A mistake in a member may be what is missing: upsteam = "app".
bool has_bad_member(const Node& table)
{
    return std::any_of(table.children.begin(), table.children.end(),
                       [](const Node& child) { return child.state == Node::State::bad; });
}

const Node* good(const Node* node)
{
    return node != nullptr && node->state == Node::State::good ? node : nullptr;
}

/// A name for a route that was given none: from what it matches.
std::string made_name(const Match& match, std::size_t index)
{
    if (!match.path.empty()) {
        return match.path;
    }
    if (!match.path_regex.empty() && match.path_regex.size() <= 64) {
        return match.path_regex;
    }
    return fmt::format("route-{}", index + 1);
}

} // namespace

void Builder::build_routes(Site& site, const Node& node, const std::string& path)
{
    const Node* own = node.find("upstream");
    const std::optional<std::uint32_t> upstream = good(own) == nullptr ? std::nullopt : find_upstream(*own, path + ".upstream");
    std::ignore = route_cache(nullptr, node, path); // what is wrong with the site's own is said once, and first
    std::map<std::string, Place> names;
    std::vector<Place> places; ///< of each route; line 0 where its match is wrong, and says nothing about others
    const Node* list = good(node.find("route"));
    for (std::size_t index = 0; list != nullptr && index < list->children.size(); ++index) {
        const Node& item = list->children[index];
        if (item.state != Node::State::good || findings_.is_full()) {
            continue;
        }
        const std::string route_path = fmt::format("{}.route[{}]", path, index);
        Route route = build_route(&item, node, upstream, route_path);
        const bool is_sound = build_match(route, item, site, route_path);
        const Node* name = good(item.find("name"));
        route.name = name != nullptr ? name->text : made_name(route.match, index);
        const Place& place = name != nullptr ? name->place : item.place;
        if (name != nullptr && (name->text.empty() || name->text.size() > 128 || !is_printable(name->text))) {
            findings_.error(place, route_path + ".name", "the name of a route has from 1 to 128 printable characters");
        }
        for (int number = 2; name == nullptr && names.contains(route.name); ++number) {
            route.name = fmt::format("{}#{}", made_name(route.match, index), number);
        }
        const auto [first, is_new] = names.emplace(route.name, place);
        if (!is_new) {
            findings_.error(place, route_path + ".name",
                            fmt::format("the route name \"{}\" is used twice in [{}]", route.name, path),
                            "first at " + findings_.where(first->second));
        }
        places.push_back(is_sound ? item.place : Place{});
        site.routes.push_back(std::move(route));
    }
    find_hidden_routes(site, places, path);
    if (own != nullptr) {
        Route route = build_route(nullptr, node, upstream, path);
        route.name = "default";
        for (int number = 2; names.contains(route.name); ++number) {
            route.name = fmt::format("default#{}", number);
        }
        site.routes.push_back(std::move(route));
    } else if (node.find("route") == nullptr ? !has_bad_member(node) : list != nullptr && list->children.empty()) {
        findings_.error(node.key_place, path, fmt::format("[{}] has no upstream", path),
                        "write upstream = \"http://127.0.0.1:3000\"");
    }
}

Route Builder::build_route(const Node* route_node, const Node& site_node, std::optional<std::uint32_t> inherited,
                           const std::string& path)
{
    Route route;
    const Inherited tables({route_node, &site_node});
    const Inherited timeout_tables({route_node, &site_node, &root_});
    route.timeouts = timeouts(timeout_tables.sub("timeouts"));
    const Inherited buffer = tables.sub("buffer");
    route.request_buffering = static_cast<RequestBuffering>(buffer.number("buffer", "request"));
    route.response_buffering = static_cast<ResponseBuffering>(buffer.number("buffer", "response"));
    route.body_bytes = config_->request_limits.body_bytes;
    if (const Node* body = tables.find("body"); body != nullptr) {
        route.body_bytes = body->state == Node::State::unset ? fallback_number(*find_setting("request", "body")) : body->number;
    }

    const Node* respond = route_node == nullptr ? nullptr : route_node->find("respond");
    const Node* own_upstream = route_node == nullptr ? nullptr : route_node->find("upstream");
    if (respond != nullptr) {
        if (own_upstream != nullptr && own_upstream->state == Node::State::good) {
            findings_.error(own_upstream->key_place, path + ".upstream", "a route has an \"upstream\" or a \"respond\", not both",
                            fmt::format("respond is at {}", findings_.where(respond->key_place)));
        }
        const Node* own_cache = good(route_node->find("cache"));
        if (own_cache != nullptr && Inherited({own_cache}).number("route_cache", "on") != 0) {
            findings_.error(own_cache->key_place, path + ".cache", "a fixed answer is not cached: it comes from memory as it is",
                            fmt::format("respond is at {}", findings_.where(respond->key_place)));
        }
        if (respond->state == Node::State::good) {
            build_respond(route, *respond, path + ".respond");
        }
        return route;
    }
    route.cache = route_cache(route_node, site_node, path);
    if (own_upstream != nullptr && own_upstream->state == Node::State::good) {
        route.upstream = find_upstream(*own_upstream, path + ".upstream");
    } else if (own_upstream == nullptr) {
        route.upstream = inherited;
    }
    const bool is_given =
        own_upstream == nullptr ? site_node.find("upstream") != nullptr : own_upstream->state != Node::State::unset;
    if (!is_given && !has_bad_member(*route_node) && !has_bad_member(site_node)) {
        findings_.error(route_node->place, path, "this route has no upstream",
                        "write upstream = \"http://127.0.0.1:3000\", here or in the site, or respond = { status = 403 }");
    }
    return route;
}

bool Builder::build_match(Route& route, const Node& node, const Site& site, const std::string& path)
{
    const std::size_t errors_before = findings_.error_count();
    build_path_match(route.match, node, path);
    build_host_match(route.match, node, site, path);
    build_method_match(route.match, node, path);
    route.match.headers = named_matches(good(node.find("header")), path + ".header", true);
    route.match.query = named_matches(good(node.find("query")), path + ".query", false);
    return findings_.error_count() == errors_before &&
           std::none_of(node.children.begin(), node.children.end(), [](const Node& child) { return is_bad(child); });
}

void Builder::build_path_match(Match& match, const Node& node, const std::string& path)
{
    if (const Node* glob = good(node.find("path")); glob != nullptr) {
        const std::string& text = glob->text;
        const auto refuse = [&](std::string message, std::string hint) {
            findings_.error(glob->place, path + ".path", std::move(message), std::move(hint));
        };
        if (text.empty() || (text.front() != '/' && text.front() != '*')) {
            refuse(fmt::format("a path begins with \"/\", got \"{}\"", text), fmt::format("write \"/{}\"", text));
        } else if (text.find_first_of("?#") != std::string::npos) {
            refuse("a path ends before the \"?\"", "match arguments with query = { NAME = \"VALUE\" }");
        } else if (std::any_of(text.begin(), text.end(), is_blank)) {
            refuse("a path holds no blanks and no control characters", "write a blank as %20");
        } else if (const std::string received = as_received(text); received != text) {
            refuse("this can never match: a path is normalised before it is compared", fmt::format("write \"{}\"", received));
        } else {
            match.path = text;
        }
    }
    if (const Node* regex = good(node.find("path_regex")); regex != nullptr) {
        if (regex->text.empty() || regex->text.size() > kMaxRegexBytes) {
            findings_.error(regex->place, path + ".path_regex",
                            fmt::format("an expression has from 1 to {} bytes", kMaxRegexBytes));
        } else if (const RE2 compiled(regex->text, regex_options()); !compiled.ok()) {
            findings_.error(
                regex->place, path + ".path_regex", "not a regular expression that RE2 takes: " + compiled.error(),
                compiled.error_code() == RE2::ErrorBadPerlOp ? "look-ahead, look-behind and back-references do not exist" : "");
        } else {
            match.path_regex = regex->text;
        }
    }
}

void Builder::build_host_match(Match& match, const Node& node, const Site& site, const std::string& path)
{
    const std::vector<std::string> site_hosts = hosts_of(site);
    for (const Node* item : good_items(node.find("host"))) {
        const std::optional<std::string> host = site_name(item->text, item->place, path + ".host");
        if (!host) {
            continue;
        }
        const bool reaches = site.name.empty() || std::any_of(site_hosts.begin(), site_hosts.end(), [&](const std::string& own) {
                                 return host_covers(own, *host) || host_covers(*host, own);
                             });
        if (!reaches) {
            findings_.error(item->place, path + ".host", fmt::format("this can never match: \"{}\" is no name of this site", *host),
                            fmt::format("add it to the site's aliases, or write a site for it"));
            continue;
        }
        match.hosts.push_back(*host);
    }
}

void Builder::build_method_match(Match& match, const Node& node, const std::string& path)
{
    for (const Node* item : good_items(node.find("method"))) {
        const std::string& method = item->text;
        if (!is_token(method)) {
            findings_.error(item->place, path + ".method", fmt::format("expected a method such as \"GET\", got \"{}\"", method));
        } else if (method == upper(method)) {
            match.methods.push_back(method);
        } else {
            findings_.error(item->place, path + ".method", fmt::format("methods are written in capitals, got \"{}\"", method),
                            fmt::format("write \"{}\"", upper(method)));
        }
    }
}

std::vector<NamedMatch> Builder::named_matches(const Node* node, const std::string& path, bool is_header)
{
    std::vector<NamedMatch> out;
    for (const Node& child : node == nullptr ? std::vector<Node>() : node->children) {
        if (child.state != Node::State::good) {
            continue;
        }
        if (is_header && !is_token(child.key)) {
            findings_.error(child.key_place, path, fmt::format("\"{}\" is not the name of a header", child.key));
            continue;
        }
        if (child.key.empty() || child.text.empty()) {
            findings_.error(child.place, path, "expected a value to match, got an empty string",
                            "\"*\" = it is there, with any value");
            continue;
        }
        // Header names have no case; one form of them makes equal tests equal.
        out.push_back({is_header ? normalise_host(child.key) : child.key, child.text});
    }
    return out;
}

void Builder::build_respond(Route& route, const Node& node, const std::string& path)
{
    const Inherited table({&node});
    Respond respond;
    respond.status = static_cast<std::uint16_t>(table.number("respond", "status"));
    respond.body = table.text("respond", "body");
    respond.content_type = table.text("respond", "content_type");
    if (!respond.body.empty() && (respond.status == 204 || respond.status == 304)) {
        findings_.error(table.find("body")->place, path + ".body",
                        fmt::format("an answer with status {} has no body", respond.status));
    }
    if (respond.content_type.empty() || !is_printable(respond.content_type)) {
        findings_.error(table.find("content_type")->place, path + ".content_type",
                        "expected a type such as \"text/plain; charset=utf-8\"");
    }
    route.respond = std::move(respond);
}

void Builder::find_hidden_routes(const Site& site, const std::vector<Place>& places, const std::string& path)
{
    const std::vector<std::string> site_hosts = hosts_of(site);
    std::vector<std::unique_ptr<RE2>> regexes;
    for (const Route& route : site.routes) {
        regexes.push_back(route.match.path_regex.empty() ? nullptr
                                                         : std::make_unique<RE2>(route.match.path_regex, regex_options()));
    }
    for (std::size_t narrow = 1; narrow < places.size(); ++narrow) {
        for (std::size_t wide = 0; wide < narrow && places[narrow].line > 0; ++wide) {
            if (places[wide].line > 0 &&
                covers(site.routes[wide].match, regexes[wide].get(), site.routes[narrow].match, site_hosts)) {
                findings_.error(places[narrow], fmt::format("{}.route[{}]", path, narrow),
                                fmt::format("the route \"{}\" can never match", site.routes[narrow].name),
                                fmt::format("\"{}\" at {} takes every request before it; put the narrower route first",
                                            site.routes[wide].name, findings_.where(places[wide])));
                break;
            }
        }
    }
}

} // namespace ladle::config
