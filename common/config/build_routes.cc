// SPDX-License-Identifier: Apache-2.0
//
// [[site."NAME".route]]: what a route matches and what becomes of the request, and the search for routes that can never match.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/route_cover.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <tuple>

namespace ladle::config {

namespace {

/// A mistake in a member may be what is missing: upsteam = "app".
bool has_bad_member(const Node& table)
{
    return std::any_of(table.children.begin(), table.children.end(),
                       [](const Node& child) { return child.state == Node::State::bad; });
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

/// Whether routes are chosen by a part of the URL that the cache's key leaves out.
bool looks_beyond_key(const Match& match, const http::KeyRules& key) noexcept
{
    const bool has_path = !match.path.empty() || !match.path_regex.empty() || match.file_kinds != 0;
    return (!match.query.empty() && key.query != http::QueryPart::all) || (!match.scheme.empty() && !key.scheme) ||
           (!match.hosts.empty() && !key.host) || (has_path && !key.path);
}

void append_texts(const Node& node, std::string& out)
{
    out.append(node.key).append("=").append(node.text).append(std::to_string(node.number)).append("\n");
    for (const Node& child : node.children) {
        append_texts(child, out);
    }
}

/// What stands for a route without a name in the cache's keys: its place among others would, after a reload, be another one's.
std::string mark_of(const Node& route)
{
    std::string texts;
    for (const Node& child : route.children) {
        if (child.key != "cache" && child.key != "timeouts" && child.key != "buffer" && child.key != "body" &&
            child.key != "mirror") {
            append_texts(child, texts);
        }
    }
    return fmt::format("{:016x}", std::hash<std::string>{}(texts));
}

} // namespace

void Builder::build_routes(Site& site, const Node& node, const std::string& path)
{
    const Node* own = node.find("upstream");
    const std::optional<std::uint32_t> upstream = good(own) == nullptr ? std::nullopt : find_upstream(*own, path + ".upstream");
    std::ignore = route_cache(nullptr, node, path); // what is wrong with the site's own is said once, and first
    site.headers = header_edits(nullptr, &node, site, path);
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
        build_path_change(route, item, route_path);
        build_redirect(route, item, route_path);
        build_split(route, item, route_path);
        build_mirror(route, &item, node, route_path);
        route.headers = item.find("headers") == nullptr ? site.headers : header_edits(&item, &node, site, route_path);
        route.at = place_of(item.place);
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
        const bool is_in_key = !looks_beyond_url(route.match) && route.split.empty();
        if (route.cache && (!is_in_key || looks_beyond_key(route.match, route.cache->key))) {
            route.cache_mark = "\nroute/" + (name != nullptr ? name->text : mark_of(item)) + "\n";
        }
        site.marks_keys = site.marks_keys || !route.cache_mark.empty();
        places.push_back(is_sound ? item.place : Place{});
        site.routes.push_back(std::move(route));
    }
    find_hidden_routes(site, places, path);
    if (own != nullptr) {
        Route route = build_route(nullptr, node, upstream, path);
        route.name = "default";
        build_mirror(route, nullptr, node, path);
        route.headers = site.headers;
        route.at = place_of(own->key_place);
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

    if (route_node != nullptr && build_own_answer(route, *route_node, path)) {
        return route;
    }
    route.cache = route_cache(route_node, site_node, path);
    const Node* own_upstream = route_node == nullptr ? nullptr : route_node->find("upstream");
    const Node* split = route_node == nullptr ? nullptr : route_node->find("split");
    if (split != nullptr) {
        if (good(own_upstream) != nullptr) {
            findings_.error(own_upstream->key_place, path + ".upstream", "a route has an \"upstream\" or a \"split\", not both",
                            fmt::format("split is at {}", findings_.where(split->key_place)));
        }
        return route; // build_split()
    }
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

bool Builder::build_own_answer(Route& route, const Node& node, const std::string& path)
{
    const Node* answer = node.find("respond") != nullptr ? node.find("respond") : node.find("redirect");
    if (answer == nullptr) {
        return false;
    }
    const auto refuse_beside = [&](const Node* other) {
        if (good(other) != nullptr && other != answer) {
            findings_.error(other->key_place, path + "." + other->key,
                            fmt::format("a route has {} \"{}\" or a \"{}\", not both", other->key == "upstream" ? "an" : "a",
                                        other->key, answer->key),
                            fmt::format("{} is at {}", answer->key, findings_.where(answer->key_place)));
        }
    };
    for (const std::string_view key : {"upstream", "split", "mirror", "redirect", "strip", "rewrite"}) {
        refuse_beside(node.find(key));
    }
    const Node* cache = good(node.find("cache"));
    if (cache != nullptr && Inherited({cache}).number("route_cache", "on") != 0) {
        findings_.error(cache->key_place, path + ".cache", "a fixed answer is not cached: it comes from memory as it is",
                        fmt::format("{} is at {}", answer->key, findings_.where(answer->key_place)));
    }
    if (answer->key == "respond" && answer->state == Node::State::good) {
        build_respond(route, *answer, path + ".respond");
    }
    return true;
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
