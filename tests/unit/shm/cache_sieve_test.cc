// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

using namespace cache_testing;

namespace {

/// SIEVE as published, with sizes and nothing shared: what the store is measured against.
class ReferenceSieve {
public:
    explicit ReferenceSieve(std::size_t capacity) : capacity_(capacity) {}
    bool request(std::uint32_t key, std::size_t size)
    {
        if (auto found = places_.find(key); found != places_.end()) {
            found->second->visited = true;
            return true;
        }
        for (used_ += size; used_ > capacity_;) {
            if (hand_ == queue_.end()) {
                hand_ = std::prev(queue_.end());
            }
            while (hand_->visited) {
                hand_->visited = false;
                hand_ = hand_ == queue_.begin() ? std::prev(queue_.end()) : std::prev(hand_);
            }
            places_.erase(hand_->key);
            used_ -= hand_->size;
            const auto gone = hand_;
            hand_ = hand_ == queue_.begin() ? queue_.end() : std::prev(hand_);
            queue_.erase(gone);
        }
        queue_.push_front({key, size, false});
        places_[key] = queue_.begin();
        return false;
    }

private:
    struct Item {
        std::uint32_t key;
        std::size_t size;
        bool visited;
    };
    std::size_t capacity_;
    std::size_t used_ = 0;
    std::list<Item> queue_;
    std::list<Item>::iterator hand_ = queue_.end();
    std::unordered_map<std::uint32_t, std::list<Item>::iterator> places_;
};

class ReferenceLru {
public:
    explicit ReferenceLru(std::size_t capacity) : capacity_(capacity) {}
    bool request(std::uint32_t key, std::size_t size)
    {
        if (auto found = places_.find(key); found != places_.end()) {
            queue_.splice(queue_.begin(), queue_, found->second);
            return true;
        }
        for (used_ += size; used_ > capacity_; queue_.pop_back()) {
            places_.erase(queue_.back().first);
            used_ -= queue_.back().second;
        }
        queue_.emplace_front(key, size);
        places_[key] = queue_.begin();
        return false;
    }

private:
    std::size_t capacity_;
    std::size_t used_ = 0;
    std::list<std::pair<std::uint32_t, std::size_t>> queue_;
    std::unordered_map<std::uint32_t, std::list<std::pair<std::uint32_t, std::size_t>>::iterator> places_;
};

std::vector<std::uint32_t> make_trace(double alpha, std::uint32_t objects, std::size_t requests)
{
    std::vector<double> sums(objects);
    double sum = 0;
    for (std::uint32_t i = 0; i < objects; ++i) {
        sums[i] = sum += 1 / std::pow(i + 1, alpha);
    }
    std::mt19937_64 random(11);
    std::uniform_real_distribution<double> uniform(0, sum);
    std::vector<std::uint32_t> trace(requests);
    for (auto& key : trace) {
        key = static_cast<std::uint32_t>(std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin());
    }
    return trace;
}

template <typename Request>
double hit_percent(const std::vector<std::uint32_t>& trace, Request&& request)
{
    // The first half warms up.
    std::size_t hits = 0;
    for (std::size_t i = 0; i < trace.size(); ++i) {
        const bool is_hit = request(trace[i]);
        hits += is_hit && i >= trace.size() / 2;
    }
    return 200.0 * static_cast<double>(hits) / static_cast<double>(trace.size());
}

constexpr std::uint32_t kObjects = 100'000;

/// Looks up, and stores what is missing as a file of so many pages. (So no bodies are copied, and the budget is counted in pages.)
bool request_file(shm::CacheStore& store, std::uint32_t key, std::size_t pages)
{
    const std::string url = std::to_string(key);
    shm::CacheObject object;
    object.name = store.name(url);
    if (store.find(object.name).view) {
        return true;
    }
    object.in_file = true;
    object.body_bytes = pages * shm::kFilePageBytes;
    auto fill = store.begin(object);
    while (!fill && fill.error() == shm::CacheRefusal::waiting_for_files) {
        while (auto dead = store.next_dead_file()) {
            REQUIRE(store.confirm(*dead));
        }
        fill = store.begin(object);
    }
    REQUIRE(fill);
    fill->advance(object.body_bytes);
    REQUIRE(fill->complete());
    return false;
}

bool request_inline(shm::CacheStore& store, std::uint32_t key, const std::string& body)
{
    char url[16];
    std::snprintf(url, sizeof url, "%06u", key);
    shm::CacheObject object;
    object.name = store.name(url);
    if (store.find(object.name).view) {
        return true;
    }
    REQUIRE(store.store(object, body));
    return false;
}

} // namespace

TEST_CASE("cache: hits as many as the reference SIEVE on the same trace of objects of all sizes, and more than LRU")
{
    std::mt19937_64 random(3);
    std::lognormal_distribution<double> sizes(std::log(10'000.0), 1.3); // bytes, as in the measurements
    std::vector<std::size_t> pages(kObjects);
    std::size_t footprint = 0;
    for (auto& size : pages) {
        size = 1 + std::min<std::size_t>(static_cast<std::size_t>(sizes(random)), 2'000'000) / shm::kFilePageBytes;
        footprint += size;
    }
    for (const double alpha : {0.8, 0.9, 1.0}) {
        if (kThinned > 1 && alpha != 0.9) {
            continue;
        }
        const auto trace = make_trace(alpha, kObjects, 2'000'000);
        for (const std::size_t share : {1u, 10u}) {
            const std::size_t capacity = footprint * share / 100;
            auto arena = make_arena(32, capacity * shm::kFilePageBytes);
            shm::CacheStore store(arena, 0);
            ReferenceSieve sieve(capacity);
            ReferenceLru lru(capacity);
            const double ours = hit_percent(trace, [&](std::uint32_t key) { return request_file(store, key, pages[key]); });
            const double reference = hit_percent(trace, [&](std::uint32_t key) { return sieve.request(key, pages[key]); });
            const double least_recent = hit_percent(trace, [&](std::uint32_t key) { return lru.request(key, pages[key]); });
            MESSAGE("Zipf " << alpha << ", " << share << " %: store " << ours << ", SIEVE " << reference << ", LRU "
                            << least_recent);
            CHECK(std::abs(ours - reference) < 1);
            CHECK(ours > least_recent + (share == 1 ? 9 : 5));
            CHECK(store.check() == "");
        }
    }
}

TEST_CASE("cache: hits as many as the reference SIEVE with bodies in the arena")
{
    const auto trace = make_trace(0.9, kObjects, 1'000'000);
    for (const std::uint32_t share : {1u, 10u}) {
        // Every object occupies exactly as many cells; the capacity is what the arena has room for.
        auto arena = make_arena(share == 1 ? 8 : 24);
        shm::CacheStore store(arena, 0);
        const std::size_t cells = arena.stripe(0).cell_count / (kObjects * share / 100);
        const std::string body(cells * shm::kCellBytes - sizeof(shm::RecordHeader) - 6, 'x');
        ReferenceSieve sieve(arena.stripe(0).cell_count / cells);
        const double ours = hit_percent(trace, [&](std::uint32_t key) { return request_inline(store, key, body); });
        const double reference = hit_percent(trace, [&](std::uint32_t key) { return sieve.request(key, 1); });
        MESSAGE(share << " %: store " << ours << ", SIEVE " << reference);
        CHECK(std::abs(ours - reference) < 1);
        CHECK(store.check() == "");
    }
}
