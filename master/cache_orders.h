// SPDX-License-Identifier: Apache-2.0
//
// What the control socket asks of the cache: `purge` and `cache`. Both take the request's JSON and give the answer's; neither
// trusts its form. Master process.
//
//   {"command":"purge","urls":[…],"prefixes":[…],"tags":[…],"all":bool,"soft":bool}   done in every process when the answer comes
//   {"command":"cache","limit":N,"prefix":"…"}   lists objects · {"command":"cache","url":"…"}   shows one URL's, all variants
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/cache_store.h"
#include "master/disk_owner.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace ladle::master {

inline constexpr std::uint64_t kMostListed = 10'000; ///< objects in one answer

/// Purges; `store` null = there is no cache. All or nothing where a URL is malformed. `disk` keeps what was purged over a crash.
nlohmann::json purge(const config::Config& config, shm::CacheStore* store, const nlohmann::json& request,
                     const DiskOwner* disk = nullptr);

/// `ladle cache --check`: the walk of CacheStore::check() through all stripes, in one go. Stores may be refused meanwhile, some
/// ms in each 64 MiB; hits go on. `store` null = there is no cache.
nlohmann::json check_cache(shm::CacheStore* store);

/// Walks the cache for `ladle cache`, a slice in each turn of the loop, so that a large one holds nothing up. What is only on disk
/// comes last, with what its index knows, which is all but the URL: no file is read here. So it is listed without a prefix, or for
/// the one URL that was asked for: its object, or the record of its variants, and the variants.
class CacheListing {
public:
    /// Called once with the answer; the listing must not be destroyed in it.
    using Done = std::function<void(CacheListing&, nlohmann::json answer)>;

    /// Calls `done` from the loop, never from here. The stores must outlive it; `disk`: the disk tier's index, null = there is
    /// none.
    CacheListing(loop::Loop& loop, const config::Config& config, shm::CacheStore& store, shm::CacheStore* disk,
                 const nlohmann::json& request, Done done);

private:
    void take_slice();
    bool look_at_next(std::int64_t now_ms);
    void add_from_memory(const shm::CacheView& view, std::int64_t now_ms);
    void add_from_disk(const shm::CacheView& view, std::string_view url, std::int64_t now_ms);
    void add_keys_from_disk(std::int64_t now_ms);
    bool has_room();
    void finish();
    bool is_wanted(std::string_view url) const;

    loop::Loop& loop_;
    shm::CacheStore& store_;
    shm::CacheStore* disk_;
    Done done_;
    std::optional<shm::CacheWalk> walk_;
    std::optional<shm::CacheWalk> disk_walk_;
    std::set<std::uint64_t> files_; ///< on disk, of what was listed already
    std::uint64_t limit_;
    std::set<std::string> keys_;     ///< of the URL that was asked for; empty = a list
    std::map<std::uint64_t, std::string> key_hashes_; ///< of keys_, as IndexedMeta::key has them
    std::set<std::string> prefixes_; ///< empty = all
    std::string failure_;
    nlohmann::json objects_ = nlohmann::json::array();
    bool is_cut_ = false; ///< there were more
    loop::Posted turn_;
};

} // namespace ladle::master
