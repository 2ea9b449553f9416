// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a route's requests beside their upstream: strip, rewrite, redirect, headers, split.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/route_cover.h"
#include "common/http/fields.h"
#include "common/http/grammar.h"
#include "common/http/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace ladle::config {

namespace {

using http::FieldName;

constexpr std::size_t kMostExpressionBytes = 4096;
constexpr std::size_t kMostEdits = 64; ///< of one kind in one route

/// What becomes of a field that only the messages' own framing, this hop or Ladle itself can write; empty = it may be edited.
std::string_view reason_to_leave(std::string_view name, bool is_request)
{
    // Servers that make variables of names cannot tell "_" from "-".
    std::string dashed(name);
    std::replace(dashed.begin(), dashed.end(), '_', '-');
    switch (http::find_field_name(dashed)) {
    case FieldName::connection:
    case FieldName::keep_alive:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::upgrade:
    case FieldName::trailer:
        return "it is between two hops, and written for each";
    case FieldName::content_length:
    case FieldName::transfer_encoding:
        return "it says where the body ends";
    case FieldName::content_encoding:
    case FieldName::content_range:
        return "it says what the body's bytes mean";
    case FieldName::via:
        return "loops are found by it";
    case FieldName::date:
    case FieldName::age:
    case FieldName::cache_status:
        return is_request ? std::string_view{} : "it is written by who answers";
    case FieldName::set_cookie:
        return is_request ? std::string_view{} : "it would take the place of the server's own cookies, or take them away";
    case FieldName::host:
    case FieldName::forwarded:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_proto:
    case FieldName::x_mirrored:
    case FieldName::x_request_id:
        return is_request ? "Ladle writes it: servers rely on what it says" : "";
    case FieldName::expect:
    case FieldName::max_forwards:
    case FieldName::early_data:
        return is_request ? "Ladle answers or writes it" : "";
    case FieldName::range:
    case FieldName::if_range:
    case FieldName::if_match:
    case FieldName::if_none_match:
    case FieldName::if_modified_since:
    case FieldName::if_unmodified_since:
        return is_request ? "the server would answer another question than the client's" : "";
    default:
        return http::lowered(dashed) == "surrogate-capability" && is_request ? "Ladle writes it where it caches" : "";
    }
}

/// The upstream that a table of shares gives the greatest part.
std::uint32_t main_upstream(const std::vector<SplitShare>& shares)
{
    return std::ranges::max_element(shares, {}, &SplitShare::weight)->upstream;
}

/// Whether two field names are one where servers make variables of them (CGI and its like cannot tell "_" from "-").
bool is_same_variable(std::string_view a, std::string_view b) noexcept
{
    const auto fold = [](char c) { return c == '_' ? '-' : http::to_lower(c); };
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return fold(x) == fold(y); });
}

} // namespace

bool FieldEdits::drops(std::string_view name) const noexcept
{
    return std::ranges::any_of(set, [&](const Set& one) { return is_same_variable(one.name, name); }) ||
           std::ranges::any_of(remove, [&](const std::string& one) { return is_same_variable(one, name); });
}

DefinedAt Builder::place_of(const Place& place)
{
    if (config_->files.size() <= place.file) {
        config_->files.resize(place.file + 1);
    }
    if (config_->files[place.file].empty()) {
        config_->files[place.file] = findings_.file_name(place.file);
    }
    return {place.file, place.line};
}

/// An expression of the node, or the route's path_regex where the node is null. False where it is none (reported).
bool Builder::find_expression(const Node* node, const Match& match, const std::string& path, http::Expression& out)
{
    const std::string& text = node != nullptr ? node->text : match.path_regex;
    if (node != nullptr && (text.empty() || text.size() > kMostExpressionBytes)) {
        findings_.error(node->place, path, fmt::format("an expression has from 1 to {} bytes", kMostExpressionBytes));
        return false;
    }
    if (text.empty()) {
        return true;
    }
    out = std::make_shared<const RE2>(text, regex_options());
    if (!out->ok() && node != nullptr) {
        findings_.error(node->place, path, "not a regular expression that RE2 takes: " + out->error());
    }
    return out->ok();
}

std::optional<http::PathTemplate> Builder::find_template(const Node& node, http::PathTemplate::For use,
                                                         const http::Expression& expression, const std::string& path)
{
    auto parsed = http::PathTemplate::parse(node.text, use);
    if (!parsed) {
        findings_.error(node.place, path, fmt::format("\"{}\" cannot be filled in: {}", node.text, parsed.error()));
        return std::nullopt;
    }
    const int groups = expression == nullptr ? 0 : expression->NumberOfCapturingGroups();
    if (static_cast<int>(parsed->highest_capture()) > groups) {
        findings_.error(node.place, path,
                        fmt::format("there is no group ${}: the expression has {}", parsed->highest_capture(), groups),
                        expression == nullptr ? "write path_regex with a group in (), or $0 for the whole path" : "");
        return std::nullopt;
    }
    return std::move(*parsed);
}

void Builder::build_path_change(Route& route, const Node& node, const std::string& path)
{
    const Node* strip = good(node.find("strip"));
    const Node* rewrite = good(node.find("rewrite"));
    if (strip == nullptr && rewrite == nullptr) {
        return;
    }
    if (strip != nullptr && rewrite != nullptr) {
        findings_.error(rewrite->key_place, path + ".rewrite", "a route has a \"strip\" or a \"rewrite\", not both",
                        "strip is at " + findings_.where(strip->key_place));
        return;
    }
    auto change = std::make_shared<http::PathChange>();
    if (strip != nullptr) {
        std::string normal;
        http::normalise_path(strip->text.starts_with('/') ? strip->text : "/", normal);
        const bool is_good = strip->text.size() > 1 && strip->text.starts_with('/') && !strip->text.ends_with('/') &&
                             strip->text == normal && http::all_class(strip->text, http::kTarget) &&
                             strip->text.find_first_of("*?") == std::string::npos;
        if (!is_good) {
            std::string bare = strip->text.substr(0, strip->text.find_first_of("*?"));
            while (bare.ends_with('/')) {
                bare.pop_back();
            }
            const std::string slash = bare.starts_with('/') ? "" : "/";
            const bool is_known = !bare.empty() && (bare != strip->text || !slash.empty());
            findings_.error(strip->place, path + ".strip",
                            fmt::format("expected the beginning of a path such as \"/v2\", got \"{}\"", strip->text),
                            is_known ? fmt::format("write \"{}{}\"", slash, bare) : "");
            return;
        }
        change->strip = strip->text;
    } else {
        const Node* to = good(rewrite->find("to"));
        if (to == nullptr) {
            if (rewrite->find("to") == nullptr) {
                findings_.error(rewrite->place, path + ".rewrite", "a rewrite needs a \"to\"",
                                "write rewrite = { regex = \"/old/(.*)\", to = \"/new/$1\" }");
            }
            return;
        }
        if (!find_expression(good(rewrite->find("regex")), route.match, path + ".rewrite.regex", change->expression)) {
            return;
        }
        auto parsed = find_template(*to, http::PathTemplate::For::rewrite, change->expression, path + ".rewrite.to");
        if (!parsed) {
            return;
        }
        change->to = std::move(*parsed);
        change->has_rewrite = true;
    }
    route.path_change = std::move(change);
}

void Builder::build_redirect(Route& route, const Node& node, const std::string& path)
{
    const Node* table = good(node.find("redirect"));
    const Node* to = table == nullptr ? nullptr : good(table->find("to"));
    if (table != nullptr && table->find("to") == nullptr) {
        findings_.error(table->place, path + ".redirect", "a redirect needs a \"to\"",
                        "write redirect = { to = \"https://example.com$0\", status = 308 }");
    }
    if (to == nullptr) {
        return;
    }
    auto redirect = std::make_shared<http::Redirection>();
    redirect->status = static_cast<std::uint16_t>(Inherited({table}).number("redirect", "status"));
    const std::uint16_t status = redirect->status;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
        const Node* given = table->find("status");
        findings_.error(given->place, path + ".redirect.status", fmt::format("{} is no redirect", status),
                        "308 and 307 (for now) keep the method, 301, 302 and 303 make a GET of it");
    }
    std::ignore = find_expression(nullptr, route.match, path, redirect->expression);
    if (auto parsed = find_template(*to, http::PathTemplate::For::redirect, redirect->expression, path + ".redirect.to")) {
        redirect->to = std::move(*parsed);
        route.redirect = std::move(redirect);
    }
}

/// Merges one kind of edit, the file's first; a later table's word about a name counts.
FieldEdits Builder::merge_edits(const std::vector<LevelTable>& tables, bool is_request, std::string_view subject)
{
    const std::string set_key = is_request ? "request_set" : "response_set";
    const std::string remove_key = is_request ? "request_remove" : "response_remove";
    std::map<std::string, FieldEdits::Set> set;
    std::set<std::string> removed;
    const auto is_editable = [&](const std::string& name, const Place& place, const Node& node, const std::string& path) {
        std::string_view reason = reason_to_leave(name, is_request);
        reason = is_request && !subject.empty() && http::lowered(name) == http::lowered(subject)
                     ? std::string_view("tls.client.header: it tells who the client is") : reason;
        if (!http::is_token(name) || !reason.empty()) {
            if (refused_.insert(&node).second) {
                findings_.error(place, path,
                                reason.empty() ? fmt::format("\"{}\" is not the name of a header", name)
                                               : fmt::format("\"{}\" is not to be edited: {}", name, reason));
            }
            return false;
        }
        return true;
    };
    for (const auto& [table, path] : tables) {
        const Node* removes = table->find(remove_key);
        std::set<std::string> removed_here;
        if (removes != nullptr) {
            removed.clear(); // lists replace
        }
        for (const Node* item : good_items(removes)) {
            if (is_editable(item->text, item->place, *item, path + "." + remove_key)) {
                removed_here.insert(http::lowered(item->text));
                set.erase(http::lowered(item->text));
            }
        }
        removed.insert(removed_here.begin(), removed_here.end());
        const Node* sets = table->find(set_key);
        if (sets != nullptr && sets->state == Node::State::unset) {
            set.clear();
        }
        for (const Node& child : good(sets) == nullptr ? std::vector<Node>() : sets->children) {
            const Node& original = *sets->find(child.key);
            if (child.state != Node::State::good ||
                !is_editable(child.key, child.key_place, original, join_key(path + "." + set_key, child.key))) {
                continue;
            }
            const std::string name = http::lowered(child.key);
            if (child.text == "unset") {
                set.erase(name);
                continue;
            }
            if (removed_here.contains(name) && refused_.insert(&original).second) {
                findings_.error(child.key_place, path + "." + set_key, fmt::format("\"{}\" is both set and removed", child.key),
                                "set is enough: it takes the place of what was there");
            }
            if (!http::is_field_value(child.text) || http::trim(child.text) != child.text || child.text.empty()) {
                if (refused_.insert(&original).second) {
                    findings_.error(child.place, join_key(path + "." + set_key, child.key),
                                    "a header's value is not empty, holds no control characters and has no blanks at its ends",
                                    child.text.empty() ? fmt::format("{} = [\"{}\"] removes it", remove_key, child.key) : "");
                }
                continue;
            }
            set[name] = {child.key, child.text};
            removed.erase(name);
        }
    }
    FieldEdits out;
    for (auto& [name, edit] : set) {
        out.bytes += edit.name.size() + edit.value.size() + 4;
        out.set.push_back(std::move(edit));
    }
    out.remove.assign(removed.begin(), removed.end());
    return out;
}

std::shared_ptr<const HeaderEdits> Builder::header_edits(const Node* route, const Node* node, const Site& site,
                                                         const std::string& path)
{
    std::vector<LevelTable> tables;
    const auto add = [&](const Node* level, std::string level_path) {
        const Node* table = level == nullptr ? nullptr : level->find("headers");
        if (table != nullptr && table->state == Node::State::unset) {
            tables.clear();
        } else if (good(table) != nullptr) {
            tables.push_back({table, std::move(level_path)});
        }
    };
    add(&root_, "headers");
    add(node, node == nullptr ? std::string() : join_key("site", node->key) + ".headers");
    add(route, path + ".headers");
    if (tables.empty()) {
        return nullptr;
    }
    const std::string_view subject = site.tls && site.tls->client ? std::string_view(site.tls->client->header) : "";
    auto edits = std::make_shared<HeaderEdits>();
    edits->request = merge_edits(tables, true, subject);
    edits->response = merge_edits(tables, false, subject);
    if (std::max({edits->request.set.size(), edits->request.remove.size(), edits->response.set.size(),
                  edits->response.remove.size()}) > kMostEdits &&
        refused_.insert(tables.back().table).second) {
        findings_.error(tables.back().table->key_place, tables.back().path,
                        fmt::format("more than {} headers are edited here", kMostEdits));
    }
    return edits;
}

void Builder::build_split(Route& route, const Node& node, const std::string& path)
{
    const Node* table = good(node.find("split"));
    const Node* by = good(node.find("split_by"));
    if (by != nullptr && node.find("split") == nullptr) {
        findings_.error(by->key_place, path + ".split_by", "there is no \"split\" here");
    }
    if (table == nullptr) {
        return;
    }
    for (const Node& child : table->children) {
        Node named = child;
        named.kind = Node::Kind::text;
        named.text = child.key;
        named.place = child.key_place;
        if (child.state == Node::State::good) {
            if (const auto upstream = find_upstream(named, join_key(path + ".split", child.key))) {
                route.split.push_back({*upstream, static_cast<std::uint32_t>(child.number)});
            }
        }
    }
    if (std::ranges::none_of(route.split, [](const SplitShare& share) { return share.weight > 0; })) {
        if (std::ranges::all_of(table->children, [](const Node& child) { return child.state == Node::State::good; })) {
            findings_.error(table->place, path + ".split", "expected an upstream with a share of more than 0",
                            "write split = { api = 95, canary = 5 }");
        }
        route.split.clear();
        return;
    }
    route.upstream = main_upstream(route.split);
    if (by == nullptr || by->text == "client") {
        return;
    }
    const std::size_t colon = std::min(by->text.find(':'), by->text.size());
    const std::string kind = by->text.substr(0, colon);
    route.split_by.name = by->text.substr(std::min(colon + 1, by->text.size()));
    route.split_by.kind = kind == "cookie" ? SplitKey::Kind::cookie : SplitKey::Kind::header;
    if ((kind != "cookie" && kind != "header") || !http::is_token(route.split_by.name)) {
        findings_.error(by->place, path + ".split_by",
                        fmt::format("expected \"client\", \"cookie:NAME\" or \"header:NAME\", got \"{}\"", by->text));
    }
}

void Builder::build_mirror(Route& route, const Node* route_node, const Node& site_node, const std::string& path)
{
    const Inherited owners({route_node, &site_node});
    const Inherited table = owners.sub("mirror");
    const Node* nearest = good(owners.find("mirror"));
    const Node* to = good(table.find("to"));
    if (to == nullptr && nearest != nullptr && nearest->find("to") == nullptr) {
        refuse_once(*nearest, path + ".mirror", "where the copies go is not said",
                    "write mirror = { to = \"http://127.0.0.1:3001\", share = \"10%\" }");
    }
    if (to == nullptr || !route.upstream || refused_.contains(to)) {
        return; // an answer of our own, or what is wrong with the upstream is said already
    }
    const std::optional<std::uint32_t> upstream = find_upstream(*to, path + ".mirror.to");
    if (!upstream) {
        refused_.insert(to); // said once, however many routes inherit it
        return;
    }
    const bool is_in_split = std::ranges::any_of(
        route.split, [&](const SplitShare& share) { return share.weight > 0 && share.upstream == *upstream; });
    const auto has_same = [&](std::uint32_t of) {
        return std::ranges::any_of(config_->upstreams[of].servers, [&](const UpstreamServer& one) {
            return std::ranges::find(config_->upstreams[*upstream].servers, one.text, &UpstreamServer::text) !=
                   config_->upstreams[*upstream].servers.end();
        });
    };
    if (*upstream == *route.upstream || is_in_split || has_same(*route.upstream)) {
        const bool is_inherited = route_node != nullptr && route_node->find("mirror") == nullptr;
        refuse_once(*to, path + ".mirror.to", fmt::format("the mirror \"{}\" is where the requests themselves go", to->text),
                    !is_inherited ? "write another upstream"
                                  : fmt::format("of the route at {}: write mirror = \"unset\" there",
                                                findings_.where(route_node->place)));
        return;
    }
    route.mirror = Mirror{*upstream, static_cast<std::uint32_t>(table.number("route_mirror", "share"))};
}

} // namespace ladle::config
