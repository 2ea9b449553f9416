// SPDX-License-Identifier: Apache-2.0
#include "common/http/stored_meta.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <vector>

using namespace cache_testing;

namespace {

shm::CacheObject make_object(shm::CacheStore& store, std::string_view url, std::string_view variant = {})
{
    shm::CacheObject object;
    object.name = store.name(url, variant);
    object.epoch = store.purges().epoch();
    return object;
}

} // namespace

TEST_CASE("cache: what is stored is found, whole")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 3);
    const std::string meta = "meta-bytes!"; // of no multiple of 8
    const std::vector<std::uint64_t> tags{store.purges().tag_subject("a"), store.purges().tag_subject("b")};
    for (const std::size_t bytes : {0u, 1u, 63u, 64u, 1000u, 65536u, 300000u}) {
        const std::string url = "http://example.com/" + std::to_string(bytes);
        auto object = make_object(store, url, "gzip");
        object.meta = bytes_of(meta);
        object.head = "HTTP/1.1 200 OK\r\n\r\n";
        object.tags = tags;
        const std::string body = make_body(bytes, bytes);
        REQUIRE(store.store(object, body));
        auto found = store.find(store.name(url, "gzip"));
        REQUIRE(found.view);
        CHECK(found.view.url() == url);
        CHECK(found.view.variant() == "gzip");
        CHECK(std::string_view(reinterpret_cast<const char*>(found.view.meta().data()), found.view.meta().size()) == meta);
        CHECK(found.view.head() == object.head);
        CHECK(found.view.tags().size() == 2);
        CHECK(found.view.tags()[1] == tags[1]);
        CHECK(found.view.state() == shm::CacheState::complete);
        CHECK(found.view.body_bytes() == bytes);
        CHECK(read_body(found.view) == body);
        CHECK(found.view.hits() == 1);
        CHECK_FALSE(store.find(store.name(url)).view);
        CHECK_FALSE(store.find(store.name(url, "br")).view);
    }
    CHECK(store.counts().objects == 7);
    CHECK(store.check() == "");
}

TEST_CASE("cache: parts of a body come in any range")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    const std::string body = make_body(1, 5000);
    auto view = store.store(make_object(store, "http://a/"), body);
    REQUIRE(view);
    for (std::uint64_t from : {0u, 1u, 99u, 4096u, 4999u, 5000u, 6000u}) {
        for (std::uint64_t until : {0u, 1u, 100u, 4097u, 5000u, 9000u}) {
            iovec pieces[shm::kMaxPieces];
            std::string got;
            for (std::size_t i = 0, n = view->body(from, until, pieces, shm::kMaxPieces); i < n; ++i) {
                got.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
            }
            const std::string expected = from < std::min<std::uint64_t>(until, 5000) ? body.substr(from, until - from) : "";
            CHECK(got == expected);
        }
    }
}

TEST_CASE("cache: an object is read while it arrives, and replaces the older one at once")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    shm::CacheStore other(arena, 1);
    REQUIRE(store.store(make_object(store, "http://a/"), "old"));
    auto held = other.find(other.name("http://a/"));
    auto object = make_object(store, "http://a/");
    object.body_bytes = 10;
    auto fill = store.begin(object);
    REQUIRE(fill);
    CHECK(read_body(other.find(other.name("http://a/")).view) == "old");
    REQUIRE(fill->publish());
    auto found = other.find(other.name("http://a/"));
    REQUIRE(found.view);
    CHECK(found.view.state() == shm::CacheState::filling);
    CHECK(found.view.filled() == 0);
    CHECK(fill->rows_reading() == 2);
    REQUIRE(fill->write(bytes_of("01234")));
    CHECK(read_body(found.view) == "01234");
    CHECK_FALSE(fill->write(bytes_of("0123456789"))); // more than announced
    REQUIRE(fill->write(bytes_of("56789")));
    REQUIRE(fill->complete());
    CHECK(found.view.state() == shm::CacheState::complete);
    CHECK(read_body(found.view) == "0123456789");
    CHECK(read_body(held.view) == "old");
    CHECK_FALSE(held.view.is_linked());
    CHECK(store.counts().zombies == 1);
    CHECK(store.check() == "");
    held = {};
    store.sweep();
    CHECK(store.counts().zombies == 0);
    CHECK(store.counts().objects == 1);
    CHECK(store.check() == "");
}

TEST_CASE("cache: an object that is cut off is gone, and its readers see it")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    auto object = make_object(store, "http://a/");
    object.body_bytes = 10;
    shm::CacheFound found;
    {
        auto fill = store.begin(object);
        REQUIRE(fill);
        REQUIRE(fill->publish());
        found = store.find(store.name("http://a/"));
        REQUIRE(fill->write(bytes_of("01")));
    }
    CHECK(found.view.state() == shm::CacheState::aborted);
    CHECK(read_body(found.view) == "01");
    CHECK_FALSE(store.find(store.name("http://a/")).view);
    {
        auto fill = store.begin(object);
        REQUIRE(fill);
        REQUIRE(fill->write(bytes_of("01")));
        CHECK_FALSE(fill->complete()); // fewer than announced
    }
    found = {};
    store.sweep();
    CHECK(store.counts().objects == 0);
    CHECK(store.counts().cell_bytes == 0);
    CHECK(store.check() == "");
}

TEST_CASE("cache: a body of unknown length grows, and gives back what it did not need")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    for (const std::size_t bytes : {0u, 10u, 1000u, 70000u, 500000u}) {
        auto object = make_object(store, "http://a/");
        auto fill = store.begin(object);
        REQUIRE(fill);
        REQUIRE(fill->publish());
        const std::string body = make_body(7, bytes);
        for (std::size_t at = 0; at < bytes; at += 777) {
            REQUIRE(fill->write(bytes_of(body).subspan(at, std::min<std::size_t>(777, bytes - at))));
            CHECK(store.find(store.name("http://a/")).view.body_bytes() == shm::kBodyUnknown);
        }
        REQUIRE(fill->complete());
        auto found = store.find(store.name("http://a/"));
        CHECK(found.view.body_bytes() == bytes);
        CHECK(read_body(found.view) == body);
        CHECK(found.view.stored_bytes() < bytes + 600); // links of its pieces among them
        CHECK(store.check() == "");
    }
}

TEST_CASE("cache: what is too large, and what has no room, is refused and counted")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    auto object = make_object(store, "http://a/");
    object.body_bytes = 5 << 20;
    CHECK(store.begin(object).error() == shm::CacheRefusal::too_large);
    std::vector<shm::CacheView> held;
    for (int i = 0; i < 100; ++i) {
        auto stored = store.store(make_object(store, "http://a/" + std::to_string(i)), std::string(200000, 'x'));
        if (!stored) {
            CHECK(stored.error() == shm::CacheRefusal::no_space);
            break;
        }
        held.push_back(std::move(*stored));
    }
    CHECK(held.size() > 50);
    CHECK(held.size() < 80);
    CHECK(store.counts().refusals[static_cast<int>(shm::CacheRefusal::no_space)] == 1);
    CHECK(store.check() == "");
    held.clear();
    CHECK(store.store(make_object(store, "http://b/"), std::string(200000, 'x')));
    CHECK(store.check() == "");
}

TEST_CASE("cache: the budget is never exceeded, and the store stays whole, through a long mix of sizes")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    std::mt19937_64 random(5);
    std::map<std::string, std::pair<std::uint64_t, std::size_t>> stored;
    std::vector<shm::CacheView> held;
    std::uint64_t wrong = 0;
    std::uint64_t refused = 0;
    for (std::uint64_t i = 0; i < 60000; ++i) {
        const std::string url = "http://a/" + std::to_string(random() % 20000);
        const std::size_t bytes = random() % (random() % 50 == 0 ? 60000u : 3000u);
        auto object = make_object(store, url);
        object.head = std::string_view("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").substr(0, random() % 60);
        auto view = store.store(object, make_body(i, bytes));
        if (!view) {
            ++refused;
            continue;
        }
        stored[url] = {i, bytes};
        if (random() % 20 == 0) {
            held.push_back(std::move(*view));
        }
        if (held.size() > 100) {
            held[random() % held.size()] = std::move(held.back());
            held.pop_back();
        }
        const std::string other = "http://a/" + std::to_string(random() % 20000);
        if (auto found = store.find(store.name(other)); found.view) {
            const auto [number, length] = stored[other];
            wrong += read_body(found.view) != make_body(number, length);
        }
    }
    CHECK(wrong == 0);
    MESSAGE("refused " << refused << " of 60000, evictions " << store.counts().evictions);
    CHECK(refused < 60);
    shm::CacheCheckSums sums{1, 0};
    CHECK(store.check(&sums) == "");
    CHECK(sums.leaked_bytes == 0);
    held.clear();
    const auto counts = store.counts();
    CHECK(counts.cell_bytes <= counts.cell_bytes_total);
    CHECK(counts.cell_bytes * 10 > counts.cell_bytes_total * 9); // and it is used
    CHECK(counts.table_bytes + counts.cell_bytes_total <= 16u << 20);
}

TEST_CASE("cache: a hit takes no lock")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    REQUIRE(store.store(make_object(store, "http://a/"), "body"));
    const std::uint64_t before = store.locks_taken();
    CHECK(before > 0);
    for (int i = 0; i < 1000; ++i) {
        CHECK(store.find(store.name("http://a/")).view);
        CHECK_FALSE(store.find(store.name("http://b/")).view);
    }
    CHECK(store.locks_taken() == before);
}

TEST_CASE("cache: a locked stripe refuses to store in time, and is still read")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    REQUIRE(store.store(make_object(store, "http://a/"), "body"));
    shm::CacheLock stuck(arena.stripe(0).lock, 7);
    const auto start = std::chrono::steady_clock::now();
    CHECK(store.store(make_object(store, "http://b/"), "body").error() == shm::CacheRefusal::busy);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(100));
    CHECK(store.find(store.name("http://a/")).view);
    CHECK_FALSE(store.remove(store.find(store.name("http://a/")).view.ref()));
}

TEST_CASE("cache: removal, listing and counting")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(store.store(make_object(store, "http://a/" + std::to_string(i)), "body"));
    }
    auto vary = make_object(store, "http://v/");
    vary.vary_record = true;
    vary.meta = bytes_of("accept-encoding");
    REQUIRE(store.store(vary, ""));
    CHECK(store.peek(store.name("http://v/")).is_vary_record());
    const auto ref = store.peek(store.name("http://a/7")).ref();
    CHECK(store.remove(ref));
    CHECK(store.remove(ref));
    CHECK_FALSE(store.peek(store.name("http://a/7")));
    shm::CacheWalk walk(store);
    int count = 0;
    while (const shm::CacheView* view = walk.next()) {
        CHECK(view->url() != "http://a/7");
        CHECK(view->hits() == 0);
        ++count;
    }
    CHECK(count == 100);
    CHECK(store.check() == "");
}

TEST_CASE("cache: files are charged, and their bytes come back only when they are gone")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    std::vector<std::uint64_t> numbers;
    std::uint64_t unlinked = 0;
    for (int i = 0; i < 20; ++i) {
        const std::string url = "http://a/" + std::to_string(i);
        auto object = make_object(store, url);
        object.in_file = true;
        object.body_bytes = 2 << 20;
        auto fill = store.begin(object);
        while (!fill && fill.error() == shm::CacheRefusal::waiting_for_files) {
            auto dead = store.next_dead_file();
            REQUIRE(dead);
            CHECK(store.confirm(*dead));
            CHECK(store.confirm(*dead));
            ++unlinked;
            fill = store.begin(object);
        }
        REQUIRE(fill);
        CHECK(fill->file() != 0);
        REQUIRE(fill->publish());
        fill->advance(2 << 20);
        REQUIRE(fill->complete());
        const auto counts = store.counts();
        CHECK(counts.file_bytes + counts.cell_bytes <= counts.cell_bytes_total);
    }
    CHECK(unlinked >= 14);
    CHECK(store.find(store.name("http://a/19")).view.is_in_file());
    CHECK(store.check() == "");
    auto object = make_object(store, "http://long/");
    object.in_file = true;
    auto fill = store.begin(object); // of unknown length
    REQUIRE(fill);
    std::uint64_t total = 0;
    for (int i = 0; i < 30; ++i) {
        auto grown = fill->grow(total + 100000);
        while (!grown && grown.error() == shm::CacheRefusal::waiting_for_files) {
            REQUIRE(store.confirm(*store.next_dead_file()));
            grown = fill->grow(total + 100000);
        }
        REQUIRE(grown);
        fill->advance(100000);
        total += 100000;
    }
    CHECK(fill->complete());
    CHECK(store.find(store.name("http://long/")).view.body_bytes() == 3000000);
    CHECK(store.check() == "");
}

TEST_CASE("cache: a freshened object keeps its body, and its file moves over")
{
    auto arena = make_arena(16);
    shm::CacheStore store(arena, 0);
    const std::string body = make_body(3, 3000);
    auto old = store.store(make_object(store, "http://a/"), body);
    REQUIRE(old);
    auto object = make_object(store, "http://a/");
    object.head = "a new head";
    auto fresh = store.freshen(*old, object);
    REQUIRE(fresh);
    CHECK(fresh->head() == "a new head");
    CHECK(read_body(*fresh) == body);
    CHECK(store.find(store.name("http://a/")).view.ref() == fresh->ref());
    CHECK(store.freshen(*old, object).error() == shm::CacheRefusal::bad_request);

    object.name = store.name("http://f/");
    object.in_file = true;
    object.body_bytes = 100000;
    auto fill = store.begin(object);
    REQUIRE(fill);
    const std::uint64_t number = fill->file();
    fill->advance(100000);
    REQUIRE(fill->complete());
    auto file = store.find(store.name("http://f/"));
    auto moved = store.freshen(file.view, object);
    REQUIRE(moved);
    CHECK(moved->file() == number);
    CHECK(moved->body_bytes() == 100000);
    CHECK(moved->is_in_file());
    file = {};
    *old = {};
    *fresh = {};
    store.sweep();
    CHECK_FALSE(store.next_dead_file());
    CHECK(store.counts().file_bytes == 25 * 4096);
    CHECK(store.check() == "");
    CHECK(store.remove(moved->ref()));
    CHECK_FALSE(store.next_dead_file()); // it is being read
    *moved = {};
    store.sweep();
    CHECK(store.next_dead_file()->number == number);
}

TEST_CASE("cache: a stub has everything but a body, and its going leaves the file alone")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    auto object = make_object(store, "http://large/");
    object.body_bytes = 700'000'000;
    CHECK(store.begin(object).error() == shm::CacheRefusal::too_large);
    CHECK(object.body_bytes > store.largest_body(object.name.hash, true));
    object.head = "a head";
    object.disk_file = 4711;
    auto fill = store.begin(object);
    REQUIRE(fill);
    CHECK_FALSE(store.find(object.name).view);
    fill->advance(object.body_bytes);
    REQUIRE(fill->complete());
    auto found = store.find(object.name);
    REQUIRE(found.view);
    CHECK(found.view.is_on_disk());
    CHECK_FALSE(found.view.is_in_file());
    CHECK(found.view.state() == shm::CacheState::complete);
    CHECK(found.view.file() == 4711);
    CHECK(found.view.body_bytes() == 700'000'000);
    CHECK(found.view.filled() == 700'000'000);
    CHECK(found.view.head() == "a head");
    CHECK(found.view.stored_bytes() == 96);
    CHECK(store.counts().file_bytes == 0);
    iovec piece;
    CHECK(found.view.body(0, 1000, &piece, 1) == 0);
    CHECK(store.check() == "");

    object = make_object(store, "http://large/");
    object.head = "another head";
    auto fresh = store.freshen(found.view, object);
    REQUIRE(fresh);
    CHECK(fresh->head() == "another head");
    CHECK(fresh->is_on_disk());
    CHECK(fresh->file() == 4711);
    CHECK(fresh->filled() == 700'000'000);
    found = {};
    CHECK(store.check() == "");
    *fresh = {};
    REQUIRE(store.store(make_object(store, "http://large/"), "small"));
    CHECK(read_body(store.find(store.name("http://large/")).view) == "small");
    CHECK_FALSE(store.next_dead_file());
    for (int i = 0; i < 200; ++i) { // its entry and cells serve others, which have no file
        REQUIRE(store.store(make_object(store, "http://a/" + std::to_string(i)), "body"));
    }
    store.sweep();
    CHECK_FALSE(store.next_dead_file());
    CHECK(store.check() == "");

    object = make_object(store, "http://large/2");
    object.disk_file = 5;
    object.body_bytes = 100;
    {
        auto left = store.begin(object); // the fill ends without its body
        REQUIRE(left);
    }
    CHECK_FALSE(store.find(object.name).view);
    CHECK_FALSE(store.next_dead_file());
    CHECK(store.check() == "");
}

TEST_CASE("cache: an arena is adopted with its objects; one of another layout is not")
{
    auto arena = make_arena(16);
    {
        shm::CacheStore store(arena, 0);
        REQUIRE(store.store(make_object(store, "http://a/"), "body"));
    }
    auto adopted = shm::CacheArena::adopt(os::Fd(::dup(arena.fd())));
    REQUIRE(adopted);
    shm::CacheStore store(*adopted, 5);
    CHECK(read_body(store.find(store.name("http://a/")).view) == "body");
    CHECK(adopted->is_made_with({16u << 20, 0, 0}));
    CHECK_FALSE(adopted->is_made_with({17u << 20, 0, 0}));
    arena.header().prefix.abi_hash ^= 1;
    CHECK_FALSE(shm::CacheArena::adopt(os::Fd(::dup(arena.fd()))));
    CHECK_FALSE(shm::CacheArena::make({1u << 20, 0, 0}));
}

TEST_CASE("cache: the disk tier's index: names by hash, a budget of files alone")
{
    auto arena = make_arena(8, 100u << 20);
    shm::CacheStore store(arena, 0);
    for (int i = 0; i < 40; ++i) {
        char bytes[16];
        shm::CacheObject object;
        object.name = shm::CacheStore::name_by_hash(store.name("http://a/" + std::to_string(i)).hash, bytes);
        object.in_file = true;
        object.body_bytes = 10 << 20;
        object.epoch = store.purges().epoch();
        auto fill = store.begin(object);
        while (!fill && fill.error() == shm::CacheRefusal::waiting_for_files) {
            REQUIRE(store.confirm(*store.next_dead_file()));
            fill = store.begin(object);
        }
        REQUIRE(fill);
        fill->advance(10 << 20);
        REQUIRE(fill->complete());
    }
    CHECK(store.counts().objects == 10);
    CHECK(store.counts().file_bytes == 100u << 20);
    CHECK(store.counts().cell_bytes == 10 * 96);
    char bytes[16];
    const auto name = shm::CacheStore::name_by_hash(store.name("http://a/39").hash, bytes);
    CHECK(store.find(name, "http://a/39").view);
    CHECK(store.purges().purge_url("http://a/39", shm::PurgeKind::hard));
    CHECK_FALSE(store.find(name, "http://a/39").view);
    CHECK(store.check() == "");
}

TEST_CASE("cache: an index is made again from what a snapshot says of its files")
{
    auto arena = make_arena(8, 40u << 20);
    shm::CacheStore store(arena, 0);
    for (std::uint64_t i = 1; i <= 100; ++i) {
        char bytes[16];
        shm::CacheObject object;
        object.name = shm::CacheStore::name_by_hash(store.name("http://a/" + std::to_string(i)).hash, bytes);
        object.in_file = true;
        object.body_bytes = 1 << 20;
        object.epoch = 1;
        CHECK(store.adopt_file(object, i * 7).has_value() == (i <= 40)); // no more than the budget
    }
    char bytes[16];
    const auto name = shm::CacheStore::name_by_hash(store.name("http://a/3").hash, bytes);
    CHECK(store.find(name, "http://a/3").view.file() == 21);
    CHECK(store.counts().file_bytes == 40u << 20);
    shm::CacheObject object;
    object.name = store.name("http://new/");
    object.in_file = true;
    auto fill = store.begin(object);
    REQUIRE(fill);
    CHECK(fill->file() > 700);
    fill->abort();
    object.in_file = false;
    CHECK(store.adopt_file(object, 5).error() == shm::CacheRefusal::bad_request);
    CHECK(store.check() == "");
}

TEST_CASE("cache: a 1 KiB object with 200 B of key and head takes at most 1.35 KiB of a full cache, all told")
{
    auto arena = make_arena(128);
    shm::CacheStore store(arena, 0);
    const std::string body(1024, 'b');
    http::StoredMeta meta;
    meta.freshness = {1'700'000'000'000, 3600, 0, 0, 0, 200};
    meta.request_ms = meta.response_ms = 1'700'000'000'000;
    const http::PackedMeta packed = meta.pack();
    std::uint64_t stored = 0;
    for (; store.counts().evictions == 0; ++stored) {
        const std::string url = "http://www.example.com/images/" + std::to_string(100000000 + stored);
        const std::string head(200 - url.size(), 'h');
        auto object = make_object(store, url);
        object.meta = packed.bytes();
        object.head = head;
        REQUIRE(store.store(object, body));
    }
    const std::uint64_t stripes = arena.bytes() - arena.header().stripes_offset; // the tables do not grow with the memory
    MESSAGE((stripes / stored) << " B each, " << arena.header().stripes_offset << " B of tables");
    CHECK(stripes / stored <= 1382);
}

TEST_CASE("cache: objects stored in turn lie side by side, each in one piece; holes between them are used up to the last cell")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    const std::string body(1000, 'b');
    std::vector<shm::CacheRef> refs;
    for (int i = 0; store.counts().evictions == 0; ++i) {
        auto stored = store.store(make_object(store, "http://a/" + std::to_string(i)), body);
        REQUIRE(stored);
        iovec pieces[shm::kMaxPieces];
        CHECK(stored->body(0, stored->filled(), pieces, shm::kMaxPieces) <= (store.counts().evictions == 0 ? 1u : shm::kMaxPieces));
        refs.push_back(stored->ref());
    }
    REQUIRE(refs.size() > 3000);
    for (std::size_t i = 0; i < refs.size(); i += 2) {
        REQUIRE(store.remove(refs[i]));
    }
    const auto free = store.counts();
    const std::uint64_t hole = 33 * shm::kCellBytes; // of one object
    const std::string larger(3 * hole, 'l');
    std::uint64_t fitted = 0;
    for (const std::uint64_t evictions = free.evictions; store.counts().evictions == evictions; ++fitted) {
        auto stored = store.store(make_object(store, "http://b/" + std::to_string(fitted)), larger);
        REQUIRE(stored);
        CHECK(read_body(*stored) == larger);
    }
    CHECK((fitted + 1) * (larger.size() + 100) > (free.cell_bytes_total - free.cell_bytes) * 9 / 10);
    CHECK(store.check() == "");
}

TEST_CASE("cache: a dead file that cannot be unlinked does not stand in the way of others")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    for (int i = 0; i < 4; ++i) {
        const std::string url = "http://a/" + std::to_string(i); // the object borrows it
        auto object = make_object(store, url);
        object.in_file = true;
        object.body_bytes = 5000;
        auto fill = store.begin(object);
        REQUIRE(fill);
        fill->abort();
    }
    const auto stuck = store.next_dead_file();
    REQUIRE(stuck);
    for (int i = 0; i < 3; ++i) {
        while (store.next_dead_file()->number == stuck->number) {
            store.sweep();
            REQUIRE(store.check() == "");
        }
        const auto other = store.next_dead_file();
        store.sweep(); // postponed while it is unlinked: confirmed when it is given out again
        CHECK(store.confirm(*other));
        while (store.next_dead_file()->number != other->number && store.counts().dead_files == 4u - static_cast<unsigned>(i)) {
            store.sweep();
        }
        CHECK(store.confirm(*other));
        CHECK(store.counts().dead_files == 3u - static_cast<unsigned>(i));
        CHECK(store.check() == "");
    }
    CHECK(store.counts().file_bytes == 8192);
    CHECK(store.confirm(*stuck));
    CHECK(store.counts().file_bytes == 0);
    CHECK_FALSE(store.next_dead_file());
}
