// SPDX-License-Identifier: Apache-2.0
//
// CacheStore::check() on an arena of which anything may have been overwritten: it ends, and says so.
#include "common/shm/cache_stripe.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <chrono>
#include <random>
#include <vector>

using namespace cache_testing;

namespace {

constexpr int kDamages = kThinned > 1 ? 100 : 400; ///< to each part

struct Part {
    const char* name;
    std::byte* begin;
    std::size_t bytes;
};

/// Some bytes of an arena that are put back.
class Damage {
public:
    Damage(std::byte* at, std::size_t bytes, std::mt19937_64& random) : at_(at), bytes_(bytes)
    {
        std::memcpy(old_, at, bytes);
        std::byte fresh[8];
        const std::uint64_t change = random() % 4 == 0   ? random()
                                     : random() % 4 == 1 ? std::uint64_t{1} << random() % (8 * bytes)
                                                         : random() % 3000;
        std::uint64_t value = 0;
        std::memcpy(&value, at, bytes);
        value = random() % 2 == 0 ? change : random() % 2 == 0 ? value + change : value ^ change;
        std::memcpy(fresh, &value, bytes);
        std::memcpy(at, fresh, bytes);
    }
    ~Damage() { std::memcpy(at_, old_, bytes_); }
    Damage(const Damage&) = delete;
    Damage& operator=(const Damage&) = delete;

    bool is_none() const { return std::memcmp(at_, old_, bytes_) == 0; }
    bool touches(const void* at, std::size_t bytes) const
    {
        const auto* const other = static_cast<const std::byte*>(at);
        return at_ < other + bytes && other < at_ + bytes_;
    }

private:
    std::byte* at_;
    std::size_t bytes_;
    std::byte old_[8];
};

/// Objects of one piece and of many, on every list that there is; held by `held`.
void fill(shm::CacheStore& store, std::uint64_t body_bytes, bool in_file, std::vector<shm::CacheView>& held)
{
    const std::vector<std::uint64_t> tags{store.purges().tag_subject("a")};
    const std::string meta(64, 'm');
    for (std::uint64_t i = 0; i < 300; ++i) {
        const std::string url = "http://a/" + std::to_string(i);
        shm::CacheObject object;
        object.name = store.name(url, i % 3 == 0 ? "gzip" : "");
        object.meta = bytes_of(meta);
        object.head = "Content-Type: text/html\r\n";
        object.tags = tags;
        object.in_file = in_file;
        object.body_bytes = in_file ? body_bytes : shm::kBodyUnknown;
        auto fill = store.begin(object);
        REQUIRE(fill);
        REQUIRE(fill->publish());
        if (in_file) {
            fill->advance(body_bytes);
        } else {
            REQUIRE(fill->write(bytes_of(make_body(i, i % 10 == 0 ? body_bytes * 8 : body_bytes))));
        }
        shm::CacheView view = fill->view().copy();
        if (i % 50 != 7) { // else it is aborted
            REQUIRE(fill->complete());
        }
        if (i % 7 == 0) {
            held.push_back(std::move(view));
        }
    }
    for (std::uint64_t i = 0; i < 300; i += 5) {
        const shm::CacheView view = store.peek(store.name("http://a/" + std::to_string(i), i % 3 == 0 ? "gzip" : ""));
        REQUIRE((!view || store.remove(view.ref())));
    }
}

/// Where the words are that say how everything hangs together.
std::vector<Part> parts_of(shm::CacheArena& arena)
{
    shm::CacheStripe& stripe = arena.stripe(0);
    const shm::StripeParts parts(stripe);
    const std::uint32_t touched = stripe.entries_touched.load();
    const std::uint64_t trees = stripe.free_blocks[0].level_offset[0];
    std::vector<Part> all{
        {"header", arena.base(), sizeof(shm::CacheHeader)},
        {"stripe", reinterpret_cast<std::byte*>(&stripe), sizeof stripe},
        {"buckets", reinterpret_cast<std::byte*>(&parts.bucket(0)), stripe.bucket_count * sizeof(shm::CacheBucket)},
        {"entries", reinterpret_cast<std::byte*>(&parts.entry(1)), (touched - 1) * sizeof(shm::CacheEntry)},
        {"trees", parts.at(trees), stripe.cells_offset - trees},
    };
    for (std::uint32_t index = 1; index < touched; ++index) {
        const shm::CacheEntry& entry = parts.entry(index);
        if (entry.is_linked()) {
            all.push_back({"records", reinterpret_cast<std::byte*>(parts.record(entry)), sizeof(shm::RecordHeader)});
        }
    }
    return all;
}

/// Overwrites `at_once` words of `part` (the records: of each of them some) again and again. Returns how many of 1000 were found.
int find_damages(shm::CacheStore& store, const std::vector<Part>& parts, std::string_view part, int at_once,
                 std::mt19937_64& random)
{
    std::vector<const Part*> chosen;
    for (const Part& one : parts) {
        if (one.name == part) {
            chosen.push_back(&one);
        }
    }
    const shm::CacheLockWord& lock = store.arena().stripe(0).lock;
    int done = 0;
    int found = 0;
    while (done < kDamages) {
        std::vector<std::unique_ptr<Damage>> damages;
        bool is_any = false;
        bool is_locked = false; // that is waited for: a case of its own
        for (int i = 0; i < at_once; ++i) {
            const Part& where = *chosen[random() % chosen.size()];
            const std::size_t bytes = std::size_t{1} << random() % 4;
            damages.push_back(std::make_unique<Damage>(where.begin + random() % (where.bytes / bytes) * bytes, bytes, random));
            is_any = is_any || !damages.back()->is_none();
            is_locked = is_locked || damages.back()->touches(&lock, sizeof lock);
        }
        if (is_any && !is_locked) {
            ++done;
            found += store.check() != "";
        }
        while (!damages.empty()) {
            damages.pop_back(); // the last first: two may be at one place
        }
    }
    REQUIRE(store.check() == "");
    return found * 1000 / done;
}

} // namespace

TEST_CASE("cache: check() of an arena that was overwritten anywhere ends, and mostly finds it")
{
    for (const std::uint64_t file_budget : {std::uint64_t{0}, std::uint64_t{1} << 30}) {
        auto arena = make_arena(8, file_budget);
        shm::CacheStore store(arena, 3);
        std::vector<shm::CacheView> held;
        fill(store, 700, file_budget != 0, held);
        shm::CacheCheckSums sums;
        REQUIRE(store.check(&sums) == "");
        REQUIRE(sums.objects == store.counts().objects);
        REQUIRE(store.counts().zombies > 0);
        REQUIRE((file_budget == 0 || store.counts().dead_files > 0));
        const std::vector<Part> parts = parts_of(arena);
        std::mt19937_64 random(7);
        for (const auto& [part, least] :
             {std::pair{"header", 300}, {"stripe", 800}, {"buckets", 400}, {"entries", 500}, {"trees", 500}, {"records", 350}}) {
            const int found = find_damages(store, parts, part, 1, random);
            const int found_of_many = find_damages(store, parts, part, 20, random);
            CAPTURE(part);
            MESSAGE(std::string(part) << ": of 1000 found " << found << ", of 20 at once " << found_of_many);
            CHECK(found >= least);
            CHECK(found_of_many >= 900);
        }
    }
}

TEST_CASE("cache: check() says who holds a lock, and does not wait long for it")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 3);
    arena.stripe(0).lock.store(6);
    const auto begin = std::chrono::steady_clock::now();
    CHECK(store.check() == "stripe 0: locked by row 5\n");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
}

TEST_CASE("cache: check() does not follow a header that is damaged")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 3);
    arena.header().stripes_offset += 4096;
    CHECK(store.check().starts_with("the cache's header is damaged"));
    arena.header().stripes_offset -= 4096;
    arena.header().stripe_count = 60;
    CHECK(store.check().starts_with("the cache's header is damaged"));
    arena.header().stripe_count = 1;
    arena.stripe(0).entry_count = 1u << 30;
    CHECK(store.check().starts_with("stripe 0: its header is damaged"));
}

TEST_CASE("cache: a journal that was overwritten is undone without following it out of the arena")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 3);
    auto& journal = reinterpret_cast<shm::CacheJournal*>(arena.base() + arena.header().journals_offset)[5];
    std::mt19937_64 random(3);
    for (shm::JournalUndo& undo : journal.undo) {
        undo = {(random() % 2 == 0 ? random() >> 8 : arena.bytes() - 4 + random() % 64) | std::uint64_t{8} << 56, random()};
    }
    journal.count.store(random());
    arena.stripe(0).lock.store(6);
    store.repair(5);
    CHECK(journal.count.load() == 0);
    CHECK(arena.stripe(0).lock.load() == 0);
}
