// SPDX-License-Identifier: Apache-2.0
//
// CacheVisit: what one request has to do with the cache, from the lookup to the access log. Part of the Request, made for routes that
// cache. Its texts are what its names point to, so it stays where it is.
#pragma once

#include "common/http/cache_control.h"
#include "common/http/cache_status.h"
#include "common/http/range.h"
#include "common/http/stored_meta.h"
#include "common/loop/loop.h"
#include "common/shm/cache_store.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {
struct RouteCache;
}

namespace ladle::worker {

class Cache;
class Fill;

/// Unix time in milliseconds.
std::int64_t wall_clock_ms() noexcept;

/// A response that is too large for memory, as it is to be stored on disk.
struct LargeObject {
    std::string head;
    std::vector<std::uint64_t> tags;
    std::uint64_t body_bytes = 0;
};

/// How the request came out of the lookup.
enum class Found : std::uint8_t {
    hit,  ///< `view` answers it
    wait, ///< another request is fetching it: `claim` is the one that stands in the way
    ask,  ///< a server has to be asked
    none, ///< only-if-cached, and there is nothing
    load, ///< it is to be brought from disk
};

/// What a request made invalid and the disk still has: disk_forget.h.
struct ForgottenOnDisk {
    std::vector<std::uint64_t> files; ///< to be unlinked,
    std::vector<std::string> keys;    ///< of these keys
    std::string lines;                ///< for the log of purges

    /// Purges a key, as nothing else finds all that is stored under it.
    void purge(shm::PurgeTable& purges, const std::string& key);
};

struct CacheVisit {
    CacheVisit(Cache& worker_cache, const config::RouteCache& route_rules) noexcept : cache(worker_cache), rules(route_rules) {}
    ~CacheVisit();
    CacheVisit(const CacheVisit&) = delete;
    CacheVisit& operator=(const CacheVisit&) = delete;

    /// Ends the claim, if the request has one, and wakes those who wait for it.
    void end_claim(shm::FillEnd end, std::uint64_t until_ns = 0) noexcept;
    /// Takes over the claim of a fetch for the disk, which is `mine`.
    void take_large_claim(const shm::FillClaim& taken) noexcept;
    /// The fetch for the disk under this claim, somebody's, goes on for this request's sake too.
    void want_large(const shm::FillClaim& fetch) noexcept;
    void want_large_no_more() noexcept;
    /// Ends the claim of a fetch for the disk, if it is `mine`.
    void end_large_claim(shm::FillEnd end, std::uint64_t until_ns = 0) noexcept;
    /// Appends the Cache-Status line for the client, where the route shows it.
    void append_status_line(std::string& out) const;

    Cache& cache;
    const config::RouteCache& rules;

    // the key
    std::string key;            ///< primary, cache_key.h
    std::string variant;        ///< vary.h; empty where the URL does not vary
    std::string vary_names;     ///< of the vary record that was found,
    std::string vary_mark;      ///< and its mark: the variants of an earlier record are not those of this one
    shm::CacheName name;        ///< of both
    std::string_view url_of_key; ///< the part of the key that a purge by URL or prefix knows
    http::RequestDirectives directives;
    bool looks_up = false;      ///< the cache may answer it

    // what was found
    shm::CacheView view;        ///< to be served, or to be validated
    http::StoredMeta meta;      ///< of the view; brought up to date by a validation

    // a part of it, where the whole is not there: parts.h
    std::optional<http::WantedRange> wanted; ///< the one range that is asked for
    std::string part_variant;
    shm::CacheView part;
    http::StoredMeta part_meta;
    enum class Joins : std::uint8_t { nothing, behind, before } joins = Joins::nothing; ///< what is asked for, to `part`
    http::ByteRange rest;       ///< that is asked for then
    bool is_part = false;       ///< `view` is one: it is served as 206
    bool has_bad_part = false;  ///< the part stored is not of the server's representation any more

    // how the server is asked
    shm::FillClaim claim;       ///< `mine` until it is finished
    std::uint64_t epoch = 0;    ///< of the purge table when the request was sent
    std::int64_t request_ms = 0;
    bool may_store = false;     ///< the response will be looked at for that
    bool wants_whole = false;   ///< whatever part of it the client asked for
    bool validates = false;     ///< the request carries validators of `view`
    Fill* fill = nullptr;       ///< that this request began: see Fill::take_over()
    bool is_known_uncacheable = false; ///< lately: the request goes to the server as it is
    loop::Nanos waits_since = 0; ///< for another's fetch
    bool has_waited_enough = false;
    unsigned disk_loads = 0;    ///< tried: disk_load.h
    bool is_in_background = false; ///< no client waits for the answer
    bool is_large = false;       ///< the whole of what came is too large for memory, and not for the disk tier
    std::unique_ptr<LargeObject> large; ///< in the background: the response that is to be written to disk, with the claim below
    shm::FillClaim large_claim;  ///< under hash_of_large(): `mine` until it is finished
    shm::FillClaim wanted_large; ///< see want_large(); `alone`: none
    bool has_resumed = false;    ///< the object ended in mid-body, and was got once more

    std::unique_ptr<ForgottenOnDisk> forgotten; ///< null = nothing

    // for Cache-Status
    http::Forwarded forwarded = http::Forwarded::no;
    std::string_view detail;
    std::uint16_t server_status = 0; ///< where a server answered something that was not passed on
    std::string unstored_lines; ///< fields that only the request that fetched the response is sent
    bool is_stored = false;
    bool is_collapsed = false;
    bool is_stale = false;      ///< a stale response was served
};

} // namespace ladle::worker
