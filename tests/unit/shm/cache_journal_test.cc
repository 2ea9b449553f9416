// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>

using namespace cache_testing;

namespace {

constexpr std::uint32_t kMaster = 0;
constexpr std::uint32_t kWorker = 5;

/// make_body(), made once for each.
const std::string& body_of(std::uint64_t number, std::size_t bytes)
{
    static std::map<std::pair<std::uint64_t, std::size_t>, std::string> bodies;
    std::string& body = bodies[{number, bytes}];
    if (body.size() != bytes) {
        body = make_body(number, bytes);
    }
    return body;
}

using Story = std::function<void(shm::CacheStore&)>;

/// Runs `story` in a child that dies at step `n`; true when it got to its end instead.
bool run_until_step(shm::CacheArena& arena, const Story& story, std::uint64_t n)
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        shm::CacheStore store(arena, kWorker);
        shm::cache_die_at_step = n;
        story(store);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    REQUIRE(WIFEXITED(status));
    REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99));
    return WEXITSTATUS(status) == 0;
}

/// Dies at each step of `story` in turn, each time in an arena that `prepare` made; repairs; everything must be whole, nothing may
/// leak, what `prepare` stored is there whole or not at all, and the store works on.
void die_everywhere(const Story& prepare, const Story& story)
{
    std::uint64_t n = 1;
    for (bool is_over = false; !is_over; n += kThinned) {
        auto arena = make_arena(8);
        shm::CacheStore master(arena, kMaster);
        prepare(master);
        is_over = run_until_step(arena, story, n);
        master.repair(kWorker);
        master.repair(kWorker);
        shm::CacheCheckSums sums;
        const std::string broken = master.check(&sums);
        CAPTURE(n);
        REQUIRE(broken == "");
        REQUIRE(sums.leaked_bytes == 0);
        std::uint64_t cells = 0;
        shm::CacheWalk walk(master);
        while (const shm::CacheView* view = walk.next()) {
            REQUIRE(view->state() == shm::CacheState::complete);
            const bool is_elsewhere = view->is_in_file() || view->is_on_disk();
            REQUIRE((is_elsewhere || read_body(*view) == body_of(view->epoch(), view->body_bytes())));
            REQUIRE((!view->is_on_disk() || (view->file() == view->epoch() && view->filled() == view->body_bytes())));
            cells += view->is_in_file() ? 3 * shm::kCellBytes : view->stored_bytes();
        }
        const auto counts = master.counts();
        REQUIRE(counts.zombies == 0);
        REQUIRE(counts.cell_bytes >= cells - 3 * shm::kCellBytes);
        while (auto dead = master.next_dead_file()) {
            REQUIRE(master.confirm(*dead));
        }
        shm::CacheObject object;
        object.name = master.name("http://after/");
        REQUIRE(master.store(object, "x"));
        REQUIRE(master.find(master.name("http://after/")).view);
        REQUIRE(master.check() == "");
    }
    MESSAGE("died at " << (n - 2) / kThinned << " steps");
    CHECK(n > 5);
}

/// Objects whose epoch says what their body is (no purge is made here, so epochs mean nothing else).
void put(shm::CacheStore& store, const std::string& url, std::uint64_t number, std::size_t bytes)
{
    shm::CacheObject object;
    object.name = store.name(url);
    object.epoch = number;
    (void)store.store(object, body_of(number, bytes));
}

void fill_up(shm::CacheStore& store)
{
    for (std::uint64_t i = 0; i < 120; ++i) {
        put(store, "http://a/" + std::to_string(i), 100 + i, i % 2 == 0 ? 30000 : 50000);
    }
}

void put_file(shm::CacheStore& store, const std::string& url)
{
    shm::CacheObject object;
    object.name = store.name(url);
    object.in_file = true;
    auto fill = store.begin(object);
    if (fill && fill->publish() && fill->grow(300000)) {
        fill->advance(200000);
        (void)fill->complete();
    }
}

} // namespace

TEST_CASE("cache: a death at any step of storing leaves the store whole")
{
    die_everywhere([](shm::CacheStore& store) { put(store, "http://a/1", 1, 100); },
                   [](shm::CacheStore& store) {
                       put(store, "http://a/2", 2, 5000);
                       put(store, "http://a/1", 3, 70000);
                   });
}

TEST_CASE("cache: a death at any step of evicting leaves the store whole")
{
    die_everywhere(fill_up, [](shm::CacheStore& store) { put(store, "http://b/", 9, 200000); });
}

TEST_CASE("cache: a death at any step of streaming, growing and aborting leaves the store whole")
{
    die_everywhere(fill_up, [](shm::CacheStore& store) {
        shm::CacheObject object;
        object.name = store.name("http://a/3");
        object.epoch = 7;
        const std::string body = make_body(7, 90000);
        auto fill = store.begin(object);
        if (fill && fill->publish() && fill->write(bytes_of(body).first(20000)) && fill->write(bytes_of(body).subspan(20000))) {
            (void)fill->complete();
        }
        object.name = store.name("http://a/5");
        auto cut = store.begin(object);
        auto reader = cut && cut->publish() ? store.find(object.name).view : shm::CacheView();
        cut->abort();
        reader = {};
        store.sweep();
    });
}

TEST_CASE("cache: a death at any step with files leaves the store whole")
{
    die_everywhere([](shm::CacheStore& store) { put_file(store, "http://f/1"); },
                   [](shm::CacheStore& store) {
                       put_file(store, "http://f/2");
                       shm::CacheObject object;
                       object.name = store.name("http://f/1");
                       if (auto found = store.find(object.name); found.view) {
                           (void)store.freshen(found.view, object);
                       }
                       put_file(store, "http://f/1");
                       (void)store.remove(store.find(store.name("http://f/2")).view.ref());
                       store.sweep();
                       while (auto dead = store.next_dead_file()) {
                           (void)store.confirm(*dead);
                       }
                   });
}

TEST_CASE("cache: a death at any step with stubs leaves the store whole")
{
    const auto put_stub = [](shm::CacheStore& store, const std::string& url, std::uint64_t number) {
        shm::CacheObject object;
        object.name = store.name(url);
        object.epoch = number;
        object.disk_file = number;
        object.body_bytes = 700'000'000;
        auto fill = store.begin(object);
        if (fill) {
            fill->advance(object.body_bytes);
            (void)fill->complete();
        }
    };
    die_everywhere(
        [&](shm::CacheStore& store) {
            put_stub(store, "http://a/1", 1001);
            put_stub(store, "http://a/2", 1002);
        },
        [&](shm::CacheStore& store) {
            put_stub(store, "http://a/3", 1003);
            put_stub(store, "http://a/1", 1004); // in place of another
            put(store, "http://a/2", 5, 3000);   // the same by an ordinary one
            put_stub(store, "http://a/2", 1005);
            const shm::CacheView old = store.peek(store.name("http://a/3"));
            shm::CacheObject fresh;
            fresh.name = store.name("http://a/3");
            fresh.epoch = 1003;
            fresh.head = "confirmed";
            if (old) {
                (void)store.freshen(old, fresh);
                (void)store.remove(old.ref());
            }
            (void)store.remove(store.peek(store.name("http://a/1")).ref());
        });
}

TEST_CASE("cache: a death at any step of a purge leaves it done or not done")
{
    for (std::uint64_t n = 1;; ++n) {
        auto arena = make_arena(8);
        shm::CacheStore master(arena, kMaster);
        const bool is_over = run_until_step(
            arena,
            [](shm::CacheStore& store) {
                (void)store.purges().purge_tag("tag", shm::PurgeKind::hard);
                (void)store.purges().purge_prefix("http://a/", shm::PurgeKind::soft);
                (void)store.purges().purge_url("http://a/1", shm::PurgeKind::hard);
                (void)store.purges().purge_all(shm::PurgeKind::soft);
            },
            n);
        master.repair(kWorker);
        CAPTURE(n);
        const std::uint64_t tags[] = {master.purges().tag_subject("tag")};
        const std::uint64_t done = master.purges().epoch() - 1;
        REQUIRE((master.purges().state("http://x/", tags, 1) == shm::PurgeState::hard) == (done >= 1));
        REQUIRE((master.purges().state("http://a/2", {}, 1) == shm::PurgeState::soft) == (done >= 2));
        REQUIRE((master.purges().state("http://a/1", {}, 1) == shm::PurgeState::hard) == (done >= 3));
        REQUIRE((master.purges().state("http://y/", {}, 1) == shm::PurgeState::soft) == (done >= 4));
        REQUIRE(master.purges().purge_all(shm::PurgeKind::hard));
        if (is_over) {
            CHECK(n > 20);
            break;
        }
    }
}

TEST_CASE("cache: repair says whom to wake, and clears what the dead one held")
{
    auto arena = make_arena(8);
    shm::CacheStore master(arena, kMaster);
    shm::CacheStore reader(arena, 9);
    const auto hash = reader.name("http://a/").hash;
    run_until_step(
        arena,
        [](shm::CacheStore& store) {
            shm::CacheObject object;
            object.name = store.name("http://a/");
            (void)store.fills().claim(object.name.hash, 1);
            auto fill = store.begin(object);
            (void)fill->publish();
            ::_exit(99);
        },
        0);
    auto view = reader.find(reader.name("http://a/")).view;
    REQUIRE(view);
    CHECK(view.state() == shm::CacheState::filling);
    CHECK(reader.fills().claim(hash, 1).outcome == shm::ClaimOutcome::others);
    CHECK(master.repair(kWorker) == 1u << 9);
    CHECK(view.state() == shm::CacheState::aborted);
    CHECK(reader.fills().claim(hash, 1).outcome == shm::ClaimOutcome::mine);
    view = {};
    master.sweep();
    CHECK(master.counts().objects == 0);
    CHECK(master.counts().cell_bytes == 0);
    CHECK(master.check() == "");
}

TEST_CASE("cache: what the lock protects is broken without its journal: the test above can fail")
{
    // A store that is cut off with its journal forgotten must be noticed by the checker for at least one step.
    std::uint64_t broken = 0;
    for (std::uint64_t n = 1; n < 60; ++n) {
        auto arena = make_arena(8);
        shm::CacheStore master(arena, kMaster);
        const bool is_over = run_until_step(
            arena, [](shm::CacheStore& store) { put(store, "http://a/2", 2, 5000); }, n);
        reinterpret_cast<shm::CacheJournal*>(arena.base() + arena.header().journals_offset)[kWorker].count.store(0);
        master.repair(kWorker);
        shm::CacheCheckSums sums;
        broken += master.check(&sums) != "" || sums.leaked_bytes != 0;
        if (is_over) {
            break;
        }
    }
    CHECK(broken > 0);
}
