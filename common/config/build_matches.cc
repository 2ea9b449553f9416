// SPDX-License-Identifier: Apache-2.0
//
// What a route matches: [[site."NAME".route]] path, method, header, accept and so on.
#include "common/config/builder.h"

#include "common/config/names.h"
#include "common/config/route_cover.h"
#include "common/config/values.h"
#include "common/http/grammar.h"
#include "common/http/media_type.h"
#include "common/http/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace ladle::config {

namespace {

constexpr std::size_t kMostDatabaseBytes = 512u << 20;

constexpr std::size_t kMaxRegexBytes = 4096;

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

/// Whether the checker refused the value or a part of it.
bool is_bad(const Node& node)
{
    return node.state == Node::State::bad || std::any_of(node.children.begin(), node.children.end(), is_bad);
}

} // namespace

bool Builder::build_match(Route& route, const Node& node, const Site& site, const std::string& path)
{
    const std::size_t errors_before = findings_.error_count();
    build_path_match(route.match, node, path);
    build_host_match(route.match, node, site, path);
    build_method_match(route.match, node, path);
    route.match.headers = named_matches(good(node.find("header")), path + ".header", Named::header);
    route.match.query = named_matches(good(node.find("query")), path + ".query", Named::query);
    route.match.cookies = named_matches(good(node.find("cookie")), path + ".cookie", Named::cookie);
    build_type_matches(route.match, node, path);
    build_client_match(route.match, node, path);
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
        if (!http::is_token(method)) {
            findings_.error(item->place, path + ".method", fmt::format("expected a method such as \"GET\", got \"{}\"", method));
        } else if (method == upper(method)) {
            match.methods.push_back(method);
        } else {
            findings_.error(item->place, path + ".method", fmt::format("methods are written in capitals, got \"{}\"", method),
                            fmt::format("write \"{}\"", upper(method)));
        }
    }
}

std::vector<NamedMatch> Builder::named_matches(const Node* node, const std::string& path, Named kind)
{
    const bool is_header = kind == Named::header;
    std::vector<NamedMatch> out;
    for (const Node& child : node == nullptr ? std::vector<Node>() : node->children) {
        if (child.state != Node::State::good) {
            continue;
        }
        if (is_header && !http::is_token(child.key)) {
            findings_.error(child.key_place, path, fmt::format("\"{}\" is not the name of a header", child.key));
            continue;
        }
        if (kind == Named::cookie && !http::is_token(child.key)) {
            findings_.error(child.key_place, path, fmt::format("\"{}\" is not the name of a cookie", child.key));
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

void Builder::build_type_matches(Match& match, const Node& node, const std::string& path)
{
    for (const Node* item : good_items(node.find("content_type"))) {
        const std::string pattern = http::lowered(item->text);
        const std::size_t slash = pattern.find('/');
        if (slash == std::string::npos || !http::is_token(pattern.substr(0, slash)) || !http::is_token(pattern.substr(slash + 1))) {
            findings_.error(item->place, path + ".content_type",
                            fmt::format("expected a type such as \"multipart/*\", got \"{}\"", item->text),
                            pattern.find(';') != std::string::npos ? "parameters are not looked at: end before the \";\"" : "");
            continue;
        }
        match.content_types.push_back(pattern);
    }
    for (const Node* item : good_items(node.find("accept"))) {
        if (item->text == "*/*" || item->text == "*") {
            findings_.error(item->place, path + ".accept", "every client accepts \"*/*\"", "leave accept out");
        } else if (!http::is_media_range(item->text)) {
            findings_.error(item->place, path + ".accept",
                            fmt::format("expected a type such as \"text/html\" or \"text/*\", got \"{}\"", item->text));
        } else {
            match.accepts.push_back(http::lowered(item->text));
        }
    }
    for (const Node* item : good_items(node.find("type"))) {
        constexpr std::array<std::string_view, 7> kNames{"image", "audio", "sound", "video", "font", "script", "style"};
        const auto kind = http::find_file_kind(item->text);
        if (!kind) {
            const std::string_view near = nearest(item->text, kNames);
            findings_.error(item->place, path + ".type",
                            fmt::format("expected \"image\", \"audio\", \"video\", \"font\", \"script\" or \"style\", got \"{}\"",
                                        item->text),
                            near.empty() ? "a type of the request's body is content_type, of the answer accept"
                                         : fmt::format("did you mean \"{}\"?", near));
            continue;
        }
        match.file_kinds = static_cast<std::uint8_t>(match.file_kinds | 1u << static_cast<unsigned>(*kind));
    }
}

void Builder::build_client_match(Match& match, const Node& node, const std::string& path)
{
    if (const Node* scheme = good(node.find("scheme")); scheme != nullptr) {
        match.scheme = scheme->text;
    }
    for (const Node* item : good_items(node.find("client"))) {
        if (const Parsed<Cidr> range = parse_cidr(item->text)) {
            match.clients.push_back(*range);
        } else {
            findings_.error(item->place, path + ".client", range.error().message, range.error().hint);
        }
    }
    const std::vector<const Node*> countries = good_items(node.find("country"));
    for (const Node* item : countries) {
        const std::string code = upper(item->text);
        const bool is_code = code.size() == 2 && std::all_of(code.begin(), code.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
        if (!is_code || code != item->text) {
            findings_.error(item->place, path + ".country",
                            fmt::format("expected a country's two capital letters, such as \"DE\", got \"{}\"", item->text),
                            is_code ? fmt::format("write \"{}\"", code) : std::string());
        } else if (code == "UK") {
            findings_.error(item->place, path + ".country", "\"UK\" is no country of ISO 3166", "write \"GB\"");
        } else {
            match.countries.push_back({code[0], code[1]});
        }
    }
    if (!countries.empty()) {
        need_countries(*node.find("country"), path + ".country");
    }
}

void Builder::need_countries(const Node& node, const std::string& path)
{
    if (std::exchange(has_read_countries_, true)) {
        return; // read, or said once to be wrong
    }
    const Node* server = good(root_.find("server"));
    const Node* setting = server == nullptr ? nullptr : server->find("country_database");
    if (setting == nullptr) {
        findings_.error(node.key_place, path, "there is no database of countries",
                        "write country_database = \"/var/lib/GeoIP/GeoLite2-Country.mmdb\" in [server]");
        return;
    }
    if (setting->state != Node::State::good) {
        return;
    }
    const std::string file = resolve_path(findings_.file_name(setting->place.file), setting->text);
    Result<SharedText> text = files_.keep(file, kMostDatabaseBytes);
    if (!text) {
        findings_.error(setting->place, "server.country_database", text.error().detail,
                        fmt::format("the route at {} asks for a country", findings_.where(node.key_place)));
        return;
    }
    auto database = CountryDatabase::open(std::move(*text));
    if (!database) {
        findings_.error(setting->place, "server.country_database",
                        fmt::format("{} holds no countries: {}", file, database.error()));
        return;
    }
    config_->countries = std::move(*database);
}

} // namespace ladle::config
