// SPDX-License-Identifier: Apache-2.0
//
// [cache], and the `cache` of sites and routes. What the rules mean is common/http's part; here they are read and put together.
#include "common/config/builder.h"

#include "common/config/names.h"
#include "common/config/values.h"
#include "common/http/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace ladle::config {

namespace {

/// Less cannot hold the index and one large response; the arena refuses it too.
constexpr std::uint64_t kLeastMemory = std::uint64_t{8} << 20;
constexpr std::array<std::string_view, 2> kPurgeFrom{"127.0.0.0/8", "::1/128"};

/// "404", "4xx" or "400-403"; nullopt where it is none of them or no error's status.
std::optional<http::StatusTtl> parse_status_ttl(std::string_view text)
{
    const auto number = [](std::string_view digits) -> std::uint16_t {
        std::uint16_t value = 0;
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return status == std::errc() && digits.size() == 3 && end == digits.data() + 3 && value >= 400 && value <= 599 ? value : 0;
    };
    http::StatusTtl out{0, 0, 0};
    if (text == "4xx" || text == "5xx") {
        out.first = text.front() == '4' ? 400 : 500;
        out.last = static_cast<std::uint16_t>(out.first + 99);
    } else if (text.size() == 7 && text[3] == '-') {
        out.first = number(text.substr(0, 3));
        out.last = number(text.substr(4));
    } else {
        out.first = out.last = number(text);
    }
    if (out.first == 0 || out.last < out.first) {
        return std::nullopt;
    }
    return out;
}

} // namespace

void Builder::build_cache()
{
    const Inherited table({root_.find("cache")});
    const Inherited object = table.sub("object");
    Cache& cache = config_->cache;
    cache.memory_bytes = table.number("cache", "memory");
    cache.files = table.text("cache", "files");
    cache.object_bytes = object.number("cache_object", "max");
    cache.inline_bytes = object.number("cache_object", "inline");
    cache.finish_bytes = object.number("cache_object", "finish");
    cache.uncacheable_for = duration_of(table.number("cache", "uncacheable_for"));
    cache.wait = duration_of(table.number("cache", "wait"));
    const Inherited disk = table.sub("disk");
    cache.disk.bytes = disk.number("cache_disk", "size");
    cache.disk.path = disk.text("cache_disk", "path");
    cache.disk.second_sight = disk.number("cache_disk", "second_sight") != 0;
    if (const Node* path = disk.find("path"); path != nullptr && path->state == Node::State::good) {
        cache.disk.path = resolve_path(findings_.file_name(path->place.file), path->text);
    }
    if (const Node* size = disk.find("size"); size != nullptr && cache.disk.bytes > 0 && cache.memory_bytes == 0) {
        findings_.error(size->place, "cache.disk.size", "there is no cache: [cache] memory is 0B",
                        "what is read from disk goes through the memory");
    }
    if (const Node* node = table.find("memory"); node != nullptr && cache.memory_bytes > 0 && cache.memory_bytes < kLeastMemory) {
        findings_.error(node->place, "cache.memory",
                        fmt::format("cache.memory must be \"0B\" (no cache) or from {} to 256GiB, got {}",
                                    format_size(kLeastMemory), node->text),
                        "less cannot hold the index");
    }
    const Node* node = table.find("files");
    if (node == nullptr || node->text == "auto") {
        return;
    }
    cache.files = resolve_path(findings_.file_name(node->place.file), node->text);
    switch (files_.look_at_folder(cache.files)) {
    case FileSource::Folder::missing:
        findings_.error(node->place, "cache.files", fmt::format("there is no folder \"{}\"", cache.files));
        break;
    case FileSource::Folder::not_a_folder:
        findings_.error(node->place, "cache.files", fmt::format("\"{}\" is not a folder", cache.files));
        break;
    case FileSource::Folder::on_disk:
        findings_.warning(node->place, "cache.files",
                          fmt::format("\"{}\" is not on tmpfs: reading and writing it may wait for a disk", cache.files),
                          "write \"/dev/shm\", or another folder on tmpfs");
        break;
    case FileSource::Folder::in_memory:
    case FileSource::Folder::unknown:
        break;
    }
}

void Builder::refuse_once(const Node& node, const std::string& path, std::string message, std::string hint)
{
    if (refused_.insert(&node).second) {
        findings_.error(node.place, path, std::move(message), std::move(hint));
    }
}

std::shared_ptr<const RouteCache> Builder::route_cache(const Node* route, const Node& site, const std::string& path)
{
    const Inherited owners({route, &site});
    const Node* nearest = owners.find("cache");
    if (nearest == nullptr || nearest->state != Node::State::good) {
        return nullptr;
    }
    // The nearest table decides: one that sets something means that it shall count.
    const Node* on = nearest->find("on");
    if (on != nullptr && on->state == Node::State::good && on->number == 0) {
        return nullptr;
    }
    if (config_->cache.memory_bytes == 0) {
        const Node* memory = root_.find("cache")->find("memory");
        refuse_once(*nearest, path + ".cache", "there is no cache: [cache] memory is 0B",
                    fmt::format("it is set at {}", findings_.where(memory->place)));
    }
    const Inherited table = owners.sub("cache");
    const std::string cache_path = path + ".cache";
    const auto is_on = [&table](std::string_view key) { return table.number("route_cache", key) != 0; };
    auto cache = std::make_shared<RouteCache>();
    build_freshness(*cache, table, cache_path);
    build_cache_lists(*cache, table, cache_path);
    cache->min_uses = static_cast<std::uint32_t>(table.number("route_cache", "min_uses"));
    cache->vary = is_on("vary");
    cache->obeys_request = is_on("client_directives");
    cache->stale_on_error = is_on("stale_on_error");
    cache->shows_status = is_on("status_header");
    const Node* most = table.find("max");
    cache->object_bytes = most == nullptr || most->state == Node::State::unset ? config_->cache.object_bytes : most->number;
    return cache;
}

void Builder::build_freshness(RouteCache& cache, const Inherited& table, const std::string& path)
{
    const auto whole_seconds = [&](const Node& node) {
        if (node.number % 1000 != 0) {
            refuse_once(node, path + "." + node.key, fmt::format("lifetimes are counted in seconds, got \"{}\"", node.text),
                        fmt::format("write \"{}s\"", (node.number + 999) / 1000));
        }
        return node.number / 1000;
    };
    const auto given = [&](std::string_view key) {
        const Node* node = table.find(key);
        return node == nullptr || node->state == Node::State::unset
                   ? http::Seconds()
                   : http::Seconds(static_cast<std::int64_t>(whole_seconds(*node)));
    };
    const auto seconds = [&](std::string_view key) {
        const Node* node = table.find(key);
        return static_cast<std::uint32_t>(node == nullptr || node->state == Node::State::unset
                                              ? fallback_number(*find_setting("route_cache", key)) / 1000
                                              : whole_seconds(*node));
    };
    http::StoreRules& rules = cache.rules;
    rules.ttl = given("ttl");
    rules.default_ttl = given("default_ttl");
    rules.stale_while_revalidate = given("stale_while_revalidate");
    rules.stale_if_error = given("stale_if_error");
    rules.heuristic_percent = static_cast<std::uint32_t>(table.number("route_cache", "heuristic"));
    rules.heuristic_most_s = seconds("heuristic_max");
    rules.cookies = static_cast<http::CookieRule>(table.number("route_cache", "cookies"));
    rules.is_lax_with_s_maxage = table.number("route_cache", "lax_s_maxage") != 0;
    cache.disconnected_s = seconds("stale_if_unreachable");
    cache.negative = negative_ttls(table, path + ".negative");
    rules.negative = cache.negative;
}

std::vector<http::StatusTtl> Builder::negative_ttls(const Inherited& table, const std::string& path)
{
    const Node* given = table.find("negative");
    if (given == nullptr || given->state == Node::State::unset) {
        return {std::begin(http::kNegativeTtls), std::end(http::kNegativeTtls)};
    }
    std::vector<http::StatusTtl> out;
    for (const Node* node : table.sub("negative").members()) {
        std::optional<http::StatusTtl> statuses = parse_status_ttl(node->key);
        if (!statuses) {
            refuse_once(*node, path, fmt::format("expected the status of an error, got \"{}\"", node->key),
                        "write 404, \"4xx\" or \"400-403\", from 400 to 599");
            continue;
        }
        if (node->text == "unset") {
            continue;
        }
        const Parsed<std::uint64_t> lifetime = parse_duration(node->text);
        if (!lifetime) {
            refuse_once(*node, path, lifetime.error().message, lifetime.error().hint);
            continue;
        }
        constexpr std::uint64_t kMostMs = std::uint64_t{3650} * 86'400'000;
        if (*lifetime % 1000 != 0 || *lifetime > kMostMs) {
            refuse_once(*node, path, fmt::format("a lifetime is a number of seconds up to 3650d, got \"{}\"", node->text));
            continue;
        }
        statuses->seconds = static_cast<std::uint32_t>(*lifetime / 1000);
        out.push_back(*statuses);
    }
    // The order of keys in a table says nothing; the first that fits counts.
    std::stable_sort(out.begin(), out.end(), [](const http::StatusTtl& a, const http::StatusTtl& b) {
        return a.last - a.first != b.last - b.first ? a.last - a.first < b.last - b.first : a.first < b.first;
    });
    return out;
}

void Builder::build_bypass(RouteCache& cache, const Node& item, const std::string& path)
{
    const std::string_view text = item.text;
    const std::size_t colon = text.find(':');
    const std::string_view kind = text.substr(0, colon);
    const std::string_view test = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    const std::size_t equals = std::min(test.find('='), test.size());
    Bypass bypass;
    bypass.name = test.substr(0, equals);
    bypass.pattern = equals < test.size() ? test.substr(equals + 1) : "*";
    constexpr std::array<std::string_view, 3> kKinds{"header", "cookie", "query"};
    const auto found = std::find(kKinds.begin(), kKinds.end(), kind);
    const bool is_name = found == kKinds.end() || kind == "query" ? !bypass.name.empty() : http::is_token(bypass.name);
    if (found == kKinds.end() || colon == std::string_view::npos || !is_name || bypass.pattern.empty()) {
        const std::string_view near = found == kKinds.end() ? nearest(kind, kKinds) : std::string_view();
        refuse_once(
            item, path,
            fmt::format("expected header:NAME, cookie:NAME or query:NAME, perhaps with =PATTERN behind it, got \"{}\"", text),
            near.empty() ? std::string() : fmt::format("did you mean \"{}:{}\"?", near, test));
        return;
    }
    bypass.kind = static_cast<Bypass::Kind>(found - kKinds.begin());
    if (bypass.kind == Bypass::Kind::header) {
        bypass.name = http::lowered(bypass.name);
    }
    cache.bypass.push_back(std::move(bypass));
}

void Builder::build_cache_lists(RouteCache& cache, const Inherited& table, const std::string& path)
{
    std::vector<std::string> words;
    for (const Node* item : good_items(table.find("key"))) {
        words.push_back(item->text);
        if (auto one = http::parse_key_rules({item->text}); !one) {
            refuse_once(*item, path + ".key", one.error());
            words.pop_back();
        }
    }
    if (auto rules = http::parse_key_rules(words)) {
        cache.key = std::move(*rules);
    } else {
        refuse_once(*table.find("key"), path + ".key", rules.error());
    }
    for (const Node* item : good_items(table.find("bypass"))) {
        build_bypass(cache, *item, path + ".bypass");
    }
    if (const Node* methods = table.find("methods"); methods != nullptr && methods->state == Node::State::good) {
        std::set<std::string> named;
        for (const Node* item : good_items(methods)) {
            named.insert(item->text);
            if (item->text != "GET" && item->text != "HEAD" && item->text != "POST") {
                refuse_once(*item, path + ".methods", fmt::format("expected \"GET\", \"HEAD\" or \"POST\", got \"{}\"", item->text),
                            "responses to no other method can be kept");
            }
        }
        if (!named.contains("GET")) {
            refuse_once(*methods, path + ".methods", "the methods include \"GET\": what is kept are the answers to it");
        }
        cache.answers_head = named.contains("HEAD");
        cache.rules.stores_post = named.contains("POST");
    }
    if (const Node* tags = table.find("tags"); tags != nullptr && tags->state == Node::State::good) {
        cache.tag_fields.clear();
        for (const Node* item : good_items(tags)) {
            if (!http::is_token(item->text)) {
                refuse_once(*item, path + ".tags", fmt::format("\"{}\" is not the name of a header", item->text));
            }
            cache.tag_fields.push_back(http::lowered(item->text));
        }
    }
    const Node* purge = table.find("purge");
    if (purge == nullptr || purge->state == Node::State::unset) {
        for (const std::string_view range : kPurgeFrom) {
            cache.purge_from.push_back(*parse_cidr(range));
        }
    }
    for (const Node* item : good_items(purge)) {
        if (const Parsed<Cidr> range = parse_cidr(item->text)) {
            cache.purge_from.push_back(*range);
        } else {
            refuse_once(*item, path + ".purge", range.error().message, range.error().hint);
        }
    }
}

} // namespace ladle::config
