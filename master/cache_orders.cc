// SPDX-License-Identifier: Apache-2.0
#include "master/cache_orders.h"

#include "common/http/stored_meta.h"
#include "common/shm/disk_files.h"
#include "common/shm/purge_log.h"
#include "master/cache_keys.h"
#include "master/order_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

namespace ladle::master {

namespace {

using nlohmann::json;

constexpr loop::Nanos kSlice = 2'000'000; ///< of the master's time, in one turn of its loop
constexpr int kPerLook = 64;              ///< objects between looks at the clock
constexpr const char* kNoCache = "there is no cache: [cache] memory is 0B, or it could not be made";

json failure(std::string message)
{
    return {{"ok", false}, {"message", std::move(message)}};
}

/// A list of strings; nullopt where it is something else. Absent = none.
std::optional<std::vector<std::string>> strings_of(const json& request, const char* name)
{
    std::vector<std::string> out;
    const auto found = request.find(name);
    if (found == request.end()) {
        return out;
    }
    if (!found->is_array() || !std::all_of(found->begin(), found->end(), [](const json& one) { return one.is_string(); })) {
        return std::nullopt;
    }
    for (const json& one : *found) {
        out.push_back(one.get<std::string>());
    }
    return out;
}

bool is_true(const json& request, const char* name)
{
    const auto found = request.find(name);
    return found != request.end() && found->is_boolean() && found->get<bool>();
}

/// "1 URL", "2 prefixes"; appended where there are some.
void append_count(std::string& out, std::size_t count, const char* one, const char* more)
{
    if (count > 0) {
        out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, count == 1 ? one : more);
    }
}

std::int64_t wall_clock_ms()
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

const char* name_of(shm::CacheState state)
{
    switch (state) {
    case shm::CacheState::filling:
        return "filling";
    case shm::CacheState::complete:
        return "complete";
    case shm::CacheState::aborted:
        return "aborted";
    default:
        return "leaving";
    }
}

/// What a request without directives of its own would get from it now.
std::string verdict_of(const http::StoredFreshness& freshness, shm::CacheState state, shm::PurgeState purged, std::int64_t now_ms)
{
    if (purged == shm::PurgeState::hard) {
        return "not served: purged";
    }
    if (state != shm::CacheState::complete && state != shm::CacheState::filling) {
        return "not served: its fetch was cut off";
    }
    const http::Purged softly = purged == shm::PurgeState::soft ? http::Purged::softly : http::Purged::no;
    const http::Judgement judgement = http::judge(freshness, {}, now_ms, softly);
    switch (judgement.reuse) {
    case http::Reuse::fresh:
        return "served";
    case http::Reuse::stale_allowed:
        return "served, stale";
    case http::Reuse::stale_revalidating:
        return "served, stale, while it is validated (stale-while-revalidate)";
    case http::Reuse::validate:
        break;
    }
    const char* const how = freshness.has(http::StoredFreshness::kHasValidator) ? "validated first" : "fetched anew";
    return fmt::format("{}: {}", how,
                       judgement.reason == http::ValidateReason::no_cache ? "no-cache"
                       : softly == http::Purged::softly                   ? "softly purged"
                                                                          : "stale");
}

json flags_to_json(const http::StoredFreshness& freshness)
{
    using Freshness = http::StoredFreshness;
    constexpr std::pair<Freshness::Flag, const char*> kNames[] = {{Freshness::kMustRevalidate, "must-revalidate"},
                                                                  {Freshness::kAlwaysValidate, "no-cache"},
                                                                  {Freshness::kImmutable, "immutable"},
                                                                  {Freshness::kHeuristic, "heuristic"},
                                                                  {Freshness::kHasValidator, "validator"},
                                                                  {Freshness::kWasAuthorized, "authorized"},
                                                                  {Freshness::kIsPartial, "partial"}};
    json out = json::array();
    for (const auto& [flag, name] : kNames) {
        if (freshness.has(flag)) {
            out.push_back(name);
        }
    }
    return out;
}

/// The key without the fields and cookies that are part of it.
std::string_view url_part(std::string_view key)
{
    return key.substr(0, key.find('\n'));
}

const char* name_of(shm::PurgeState purged)
{
    return purged == shm::PurgeState::hard ? "hard" : purged == shm::PurgeState::soft ? "soft" : "no";
}

void add_freshness(json& j, const http::StoredFreshness& freshness, std::int64_t now_ms)
{
    j["status"] = freshness.status;
    j["age_s"] = http::age_field(freshness, now_ms);
    j["lifetime_s"] = freshness.lifetime_s;
    j["left_s"] = http::remaining_s(freshness, now_ms);
    j["stale_while_revalidate_s"] = freshness.stale_while_revalidate_s;
    j["stale_if_error_s"] = freshness.stale_if_error_s;
    j["flags"] = flags_to_json(freshness);
}

json object_to_json(shm::CacheStore& store, const shm::CacheView& view, std::int64_t now_ms)
{
    const std::string_view key = view.url();
    json j = {{"tier", "memory"},
              {"url", url_part(key)},
              {"hits", view.hits()},
              {"stored_bytes", view.stored_bytes()},
              {"tags", view.tags().size()}};
    if (const std::size_t more = url_part(key).size(); more < key.size()) {
        j["key"] = key.substr(more + 1);
    }
    if (view.is_vary_record()) {
        const std::string_view meta(reinterpret_cast<const char*>(view.meta().data()), view.meta().size());
        j["kind"] = "vary";
        j["vary"] = meta.substr(0, meta.find('\n'));
        return j;
    }
    const http::StoredFreshness freshness = http::StoredMeta::read(view.meta()).freshness;
    const http::LifetimeSource source = http::StoredMeta::read(view.meta()).source;
    const shm::PurgeState purged = store.purges().state(url_part(key), view.tags(), view.epoch());
    const shm::CacheState state = view.state();
    const std::uint64_t body = view.body_bytes();
    j["kind"] = "response";
    j["variant"] = view.variant().substr(0, view.variant().rfind('#')); // without the record's mark
    j["state"] = name_of(state);
    add_freshness(j, freshness, now_ms);
    j["lifetime_from"] = http::name_of(source);
    j["body_bytes"] = body == shm::kBodyUnknown ? json(nullptr) : json(body);
    j["filled_bytes"] = view.filled();
    j["in_file"] = view.is_in_file();
    j["on_disk"] = view.is_on_disk();
    j["purged"] = name_of(purged);
    j["verdict"] = verdict_of(freshness, state, purged, now_ms);
    return j;
}

/// What the index knows of an object; `url`: "" where nobody knows.
json disk_object_to_json(shm::CacheStore& memory, const shm::CacheView& view, std::string_view url, std::int64_t now_ms)
{
    json j = {{"tier", "disk"},
              {"url", url_part(url)},
              {"file", shm::DiskFileName(view.file()).text},
              {"hits", view.hits()},
              {"stored_bytes", view.stored_bytes()},
              {"tags", view.tags().size()}};
    if (view.meta().empty()) {
        j["kind"] = "vary";
        return j;
    }
    const http::StoredFreshness freshness = http::IndexedMeta::read(view.meta()).freshness;
    const shm::PurgeState purged = memory.purges().state(url_part(url), view.tags(), view.epoch());
    j["kind"] = "response";
    j["variant"] = view.head().substr(0, view.head().rfind('#')); // without the record's mark
    j["state"] = name_of(view.state());
    add_freshness(j, freshness, now_ms);
    j["purged"] = name_of(purged);
    j["verdict"] = verdict_of(freshness, view.state(), purged, now_ms);
    return j;
}

shm::CacheView peek_by_hash(shm::CacheStore& index, const shm::CacheHash& hash)
{
    char bytes[16];
    return index.peek(shm::CacheStore::name_by_hash(hash, bytes));
}

} // namespace

json purge(const config::Config& config, shm::CacheStore* store, const json& request, const DiskOwner* disk)
{
    const auto urls = strings_of(request, "urls");
    const auto prefixes = strings_of(request, "prefixes");
    const auto tags = strings_of(request, "tags");
    if (!urls || !prefixes || !tags) {
        return failure("the request is not understood");
    }
    if (store == nullptr) {
        return failure(kNoCache);
    }
    std::set<std::string> keys;
    std::set<std::string> beginnings;
    for (const std::string& url : *urls) {
        auto some = keys_of(config, url);
        if (!some) {
            return failure(some.error().detail);
        }
        keys.merge(*some);
    }
    for (const std::string& prefix : *prefixes) {
        auto some = key_prefixes_of(config, prefix);
        if (!some) {
            return failure(some.error().detail);
        }
        beginnings.merge(*some);
    }
    const shm::PurgeKind kind = is_true(request, "soft") ? shm::PurgeKind::soft : shm::PurgeKind::hard;
    shm::PurgeTable& purges = store->purges();
    std::string lines;
    const auto note = [&](bool is_purged, shm::PurgeSubject subject, const std::string& text) {
        lines += is_purged ? shm::to_line({purges.epoch(), subject, kind, text}) : "";
        return is_purged;
    };
    using Subject = shm::PurgeSubject;
    const auto url_done = [&](const std::string& key) { return note(purges.purge_url(key, kind), Subject::url, key); };
    const auto prefix_done = [&](const std::string& text) { return note(purges.purge_prefix(text, kind), Subject::prefix, text); };
    const auto tag_done = [&](const std::string& tag) { return note(purges.purge_tag(tag, kind), Subject::tag, tag); };
    const bool is_all = is_true(request, "all");
    const bool is_done = std::all_of(keys.begin(), keys.end(), url_done) &&
                         std::all_of(beginnings.begin(), beginnings.end(), prefix_done) &&
                         std::all_of(tags->begin(), tags->end(), tag_done) &&
                         (!is_all || note(purges.purge_all(kind), Subject::all, ""));
    const bool is_remembered = disk == nullptr || lines.empty() || disk->log_purge(lines);
    if (!is_done) {
        return failure("not all was purged: a process holds the purge table and makes no progress; try again");
    }
    std::string what = is_all ? "everything" : "";
    append_count(what, urls->size(), "URL", "URLs");
    append_count(what, prefixes->size(), "prefix", "prefixes");
    append_count(what, tags->size(), "tag", "tags");
    what = what.empty() ? "nothing" : what;
    std::string message = fmt::format("{}purged {}", kind == shm::PurgeKind::soft ? "softly " : "", what);
    if (!is_remembered) {
        message += fmt::format("; but nothing can be changed in {}: after a crash that may come back, unless it is removed before",
                               disk->path());
    }
    return {{"ok", true}, {"message", std::move(message)}};
}

json check_cache(shm::CacheStore* store)
{
    if (store == nullptr) {
        return failure(kNoCache);
    }
    shm::CacheCheckSums sums;
    std::istringstream lines(store->check(&sums));
    json broken = json::array();
    for (std::string line; std::getline(lines, line);) {
        broken.push_back(line);
    }
    return {{"ok", true}, {"broken", std::move(broken)}, {"leaked_bytes", sums.leaked_bytes}, {"objects", sums.objects}};
}

CacheListing::CacheListing(loop::Loop& loop, const config::Config& config, shm::CacheStore& store, shm::CacheStore* disk,
                           const json& request, Done done)
    : loop_(loop), store_(store), disk_(disk), done_(std::move(done)), walk_(std::in_place, store), limit_(kMostListed),
      turn_([](void* self) { static_cast<CacheListing*>(self)->take_slice(); }, this)
{
    if (const auto limit = request.find("limit"); limit != request.end() && limit->is_number_unsigned()) {
        limit_ = std::min(limit->get<std::uint64_t>(), kMostListed);
    }
    if (const std::string url = text_of(request, "url"); !url.empty()) {
        auto keys = keys_of(config, url);
        failure_ = keys ? "" : keys.error().detail;
        keys_ = keys ? std::move(*keys) : std::set<std::string>();
    }
    if (const std::string prefix = text_of(request, "prefix"); !prefix.empty()) {
        auto prefixes = key_prefixes_of(config, prefix);
        failure_ = prefixes ? failure_ : prefixes.error().detail;
        prefixes_ = prefixes ? std::move(*prefixes) : std::set<std::string>();
    }
    turn_.post(loop_);
}

bool CacheListing::is_wanted(std::string_view url) const
{
    const auto is_key = [url](const std::string& key) { return url == key; };
    const auto is_beginning = [url](const std::string& prefix) { return url.starts_with(prefix); };
    return (keys_.empty() || std::any_of(keys_.begin(), keys_.end(), is_key)) &&
           (prefixes_.empty() || std::any_of(prefixes_.begin(), prefixes_.end(), is_beginning));
}

void CacheListing::take_slice()
{
    const std::int64_t now_ms = wall_clock_ms();
    const loop::Nanos until = loop::clock_now() + kSlice;
    while (failure_.empty() && !is_cut_) {
        for (int looked = 0; looked < kPerLook && !is_cut_; ++looked) {
            if (!look_at_next(now_ms)) {
                return finish();
            }
        }
        if (loop::clock_now() >= until) {
            turn_.post(loop_);
            return;
        }
    }
    finish();
}

/// Memory first, then the disk. False: that was all.
bool CacheListing::look_at_next(std::int64_t now_ms)
{
    if (walk_) {
        if (const shm::CacheView* const view = walk_->next()) {
            if (is_wanted(url_part(view->url()))) {
                add_from_memory(*view, now_ms);
            }
            return true;
        }
        walk_.reset();
        if (disk_ != nullptr && !keys_.empty()) {
            add_keys_from_disk(now_ms);
        }
        if (disk_ != nullptr && prefixes_.empty()) {
            disk_walk_.emplace(*disk_);
        }
        return true;
    }
    const shm::CacheView* const view = disk_walk_ ? disk_walk_->next() : nullptr;
    if (view != nullptr && !files_.contains(view->file())) {
        if (keys_.empty()) {
            add_from_disk(*view, {}, now_ms);
        } else if (const auto key = key_hashes_.find(http::IndexedMeta::read(view->meta()).key); key != key_hashes_.end()) {
            add_from_disk(*view, key->second, now_ms);
        }
    }
    return view != nullptr;
}

bool CacheListing::has_room()
{
    is_cut_ = is_cut_ || objects_.size() >= limit_;
    return !is_cut_;
}

void CacheListing::add_from_memory(const shm::CacheView& view, std::int64_t now_ms)
{
    if (!has_room()) {
        return;
    }
    json object = object_to_json(store_, view, now_ms);
    if (disk_ != nullptr) {
        if (const shm::CacheView copy = peek_by_hash(*disk_, store_.name(view.url(), view.variant()).hash)) {
            object["file"] = shm::DiskFileName(copy.file()).text;
            files_.insert(copy.file());
        }
    }
    objects_.push_back(std::move(object));
}

void CacheListing::add_from_disk(const shm::CacheView& view, std::string_view url, std::int64_t now_ms)
{
    if (has_room()) {
        objects_.push_back(disk_object_to_json(store_, view, url, now_ms));
    }
}

void CacheListing::add_keys_from_disk(std::int64_t now_ms)
{
    for (const std::string& key : keys_) {
        const shm::CacheHash hash = store_.name(key).hash;
        key_hashes_.emplace(hash.low, key);
        const shm::CacheView view = peek_by_hash(*disk_, hash);
        if (view && !files_.contains(view.file())) {
            files_.insert(view.file());
            add_from_disk(view, key, now_ms);
        }
    }
}

void CacheListing::finish()
{
    walk_.reset(); // they pin an object
    disk_walk_.reset();
    if (!failure_.empty()) {
        return done_(*this, failure(failure_));
    }
    json answer = {
        {"ok", true}, {"objects", std::move(objects_)}, {"is_complete", !is_cut_}, {"objects_in_all", store_.counts().objects}};
    if (disk_ != nullptr) {
        answer["objects_on_disk"] = disk_->counts().objects;
    }
    if (!keys_.empty()) {
        answer["is_known_uncacheable"] = std::any_of(keys_.begin(), keys_.end(), [this](const std::string& key) {
            return store_.fills().is_uncacheable(store_.name(key).hash, loop::clock_now());
        });
    }
    done_(*this, std::move(answer));
}

} // namespace ladle::master
