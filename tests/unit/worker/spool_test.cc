// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/spool.h"

#include "tests/unit/worker/bytes.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <random>

using namespace ladle;
using namespace ladle::worker;
using test::bytes_of;
using test::make_bytes;

namespace {

constexpr std::uint64_t kMega = 1 << 20;
constexpr std::uint32_t kBucket = 7;

/// What a worker gives its spools, with a real folder.
struct SpoolBench {
    explicit SpoolBench(config::Budget limits) : arena(std::move(*shm::Arena::make())), row(arena.regions().rows[0])
    {
        row.pid = 1;
        row.role = shm::Role::worker;
        loop = std::move(*loop::Loop::make());
        jobs = std::move(*FileJobs::make(*loop, row));
        char name[] = "/tmp/ladle-spool-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
        directory = os::Fd(::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        budget.emplace(arena.regions(), 0, limits);
        parts.emplace(SpoolParts{*loop, *budget, jobs.get(), directory.get()});
        wake.emplace(*loop);
    }
    ~SpoolBench()
    {
        pump();
        ::rmdir(path.c_str());
    }
    /// Lets file jobs end and posted work run.
    void pump()
    {
        loop::Timer limit;
        REQUIRE(limit.start(*loop, std::chrono::milliseconds(1), loop::Timer::Repeat::once,
                            [](void* self) { static_cast<loop::Loop*>(self)->stop(); }, loop.get()));
        loop->run();
    }
    std::uint64_t value(shm::Metric metric) const { return row.value(metric); }

    shm::Arena arena;
    shm::ProcessRow& row;
    std::unique_ptr<loop::Loop> loop;
    std::unique_ptr<FileJobs> jobs;
    std::string path;
    os::Fd directory;
    std::optional<SpoolBudget> budget;
    std::optional<SpoolParts> parts;
    std::optional<loop::Wake> wake;
};

config::Budget limits_of(std::uint64_t memory, std::uint64_t disk, std::uint64_t client = 1000 * kMega)
{
    config::Budget limits;
    limits.spool_memory_bytes = memory;
    limits.spool_disk_bytes = disk;
    limits.per_client_bytes = client;
    return limits;
}

void append(Spool& spool, std::size_t n)
{
    Chain chain;
    chain.append_copy(make_bytes(spool.size(), n));
    spool.append(std::move(chain));
    spool.settle(0);
}

/// Takes up to `most` bytes and checks that they are those that belong at `at`.
std::size_t take(Spool& spool, std::uint64_t& at, std::size_t most)
{
    Chain out;
    const std::size_t n = spool.take(out, most);
    REQUIRE(n == out.bytes());
    REQUIRE(n <= most);
    REQUIRE(bytes_of(out) == make_bytes(at, n));
    at += n;
    spool.settle(0);
    return n;
}

void drain(SpoolBench& bench, Spool& spool, std::uint64_t& at)
{
    for (int idle = 0; !spool.is_drained() && idle < 5000;) {
        idle = take(spool, at, 100'000) > 0 ? 0 : idle + 1;
        if (idle > 0) {
            bench.pump();
        }
    }
    REQUIRE(spool.is_drained());
    REQUIRE(at == spool.size());
}

/// A producer and a consumer whose speeds change at random.
void pass_through(SpoolBench& bench, Spool& spool, unsigned seed, std::uint64_t total, std::uint64_t& at)
{
    std::mt19937 random(seed);
    std::uint_fast32_t eager = 50;
    for (int idle = 0; spool.size() < total && idle < 20'000;) {
        if (random() % 100 == 0) {
            eager = random() % 100;
        }
        bool moved = false;
        if (random() % 100 < eager && spool.has_room()) {
            append(spool, 1 + random() % 65536);
            moved = true;
        } else if (random() % 100 >= eager) {
            moved = take(spool, at, 1 + random() % 131072) > 0;
        }
        if (!moved) {
            if (bench.value(shm::Metric::file_jobs) != 0) {
                bench.pump();
            }
            take(spool, at, 1);
        }
        idle = moved ? 0 : idle + 1;
    }
    REQUIRE(spool.size() >= total);
}

void check_all_given_back(const SpoolBench& bench)
{
    CHECK(bench.value(shm::Metric::spool_memory_bytes) == 0);
    CHECK(bench.value(shm::Metric::spool_disk_bytes) == 0);
    CHECK(bench.row.client_spool_kib[kBucket].load() == 0);
}

} // namespace

TEST_CASE("a spool gives back in order what it was given, on any budget")
{
    const config::Budget budgets[] = {
        limits_of(64 * kMega, 0), limits_of(kMega, 64 * kMega),    limits_of(0, 64 * kMega),
        limits_of(kMega, 0),      limits_of(kMega / 2, 2 * kMega), limits_of(64 * kMega, 64 * kMega, 256 << 10),
        limits_of(0, 0)};
    unsigned seed = 1;
    for (const config::Budget& limits : budgets) {
        for (int round = 0; round < 3; ++round) {
            CAPTURE(seed);
            SpoolBench bench(limits);
            {
                Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
                std::uint64_t at = 0;
                pass_through(bench, spool, seed++, 6 * kMega, at);
                drain(bench, spool, at);
            }
            check_all_given_back(bench);
        }
    }
}

TEST_CASE("what a spool holds stays within its budget and a read")
{
    SpoolBench bench(limits_of(kMega, 2 * kMega));
    Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
    for (int i = 0; i < 2000; ++i) {
        if (spool.has_room()) {
            append(spool, 65536);
        } else {
            bench.pump();
        }
        if (i > 200 && !spool.has_room()) {
            break;
        }
    }
    CHECK_FALSE(spool.has_room());
    CHECK(bench.value(shm::Metric::spool_disk_bytes) <= 2 * kMega);
    CHECK(bench.value(shm::Metric::spool_memory_bytes) <= kMega + 2 * Spool::kFileChunk + 65536);
    CHECK(spool.size() <= 3 * kMega + 2 * Spool::kFileChunk + 2 * 65536);
    CHECK(bench.value(shm::Metric::spool_back_pressure) >= 1);
    std::uint64_t at = 0;
    drain(bench, spool, at);
    CHECK(spool.has_room());
}

TEST_CASE("a spool that keeps all can be read twice, from memory and disk")
{
    for (const std::uint64_t memory : {std::uint64_t{64} * kMega, kMega, std::uint64_t{0}}) {
        SpoolBench bench(limits_of(memory, 64 * kMega));
        {
            Spool spool(*bench.parts, kBucket, *bench.wake, Keep::all);
            for (int i = 0; i < 80; ++i) {
                append(spool, 65537);
                if (i % 7 == 0) {
                    bench.pump();
                }
            }
            std::uint64_t at = 0;
            for (int i = 0; i < 40 && at < 3 * kMega; ++i) { // a part, then again: also with a read under way
                take(spool, at, 100'000);
                if (i % 3 == 0) {
                    bench.pump();
                }
            }
            spool.rewind();
            at = 0;
            drain(bench, spool, at);
            spool.rewind();
            at = 0;
            drain(bench, spool, at);
        }
        check_all_given_back(bench);
    }
}

TEST_CASE("a second reader of a body shares its bytes, outlives the first, and counts in no budget")
{
    SpoolBench bench(limits_of(kMega, 100 * kMega));
    std::optional<Spool> body(std::in_place, *bench.parts, kBucket, *bench.wake, Keep::all);
    append(*body, 100'000);
    REQUIRE(body->is_whole_in_memory());
    const std::uint64_t held = bench.value(shm::Metric::spool_memory_bytes);
    const std::uint64_t buffers = bench.value(shm::Metric::buffer_bytes);
    Spool reader(*bench.parts, std::nullopt, *bench.wake, *body);
    reader.settle(50'000);
    CHECK(bench.value(shm::Metric::spool_memory_bytes) == held);
    CHECK(bench.value(shm::Metric::buffer_bytes) == buffers);
    std::uint64_t at = 0;
    take(reader, at, 40'000);
    std::uint64_t first_at = 0;
    drain(bench, *body, first_at);
    body.reset();
    CHECK(bench.value(shm::Metric::spool_memory_bytes) == 0);
    drain(bench, reader, at);
    reader.rewind();
    at = 0;
    drain(bench, reader, at);
    CHECK(bench.value(shm::Metric::spool_memory_bytes) == 0);
}

TEST_CASE("a second reader of a body on disk reads its file, and counts only what it reads back")
{
    SpoolBench bench(limits_of(kMega, 64 * kMega));
    {
        std::optional<Spool> body(std::in_place, *bench.parts, kBucket, *bench.wake, Keep::all);
        for (int i = 0; i < 60; ++i) {
            append(*body, 65537);
            if (i % 7 == 0) {
                bench.pump();
            }
        }
        std::uint64_t first_at = 0;
        drain(bench, *body, first_at);
        REQUIRE(body->may_be_shared());
        body->settle(0);
        const std::uint64_t memory = bench.value(shm::Metric::spool_memory_bytes);
        const std::uint64_t disk = bench.value(shm::Metric::spool_disk_bytes);
        REQUIRE(disk > 0);
        Spool reader(*bench.parts, kBucket, *bench.wake, *body);
        reader.settle(0);
        CHECK(bench.value(shm::Metric::spool_memory_bytes) == memory);
        CHECK(bench.value(shm::Metric::spool_disk_bytes) == disk);
        std::uint64_t at = 0;
        for (int i = 0; i < 10; ++i) {
            take(reader, at, 200'000);
            reader.settle(0);
            CHECK(bench.value(shm::Metric::spool_memory_bytes) <= memory + Spool::kFileChunk + 4096);
            bench.pump();
        }
        body.reset();
        drain(bench, reader, at);
        reader.rewind();
        at = 0;
        drain(bench, reader, at);
    }
    check_all_given_back(bench);
}

TEST_CASE("a body that lies on disk, or is not kept, is not whole in memory")
{
    SpoolBench bench(limits_of(20'000, 100 * kMega));
    Spool body(*bench.parts, kBucket, *bench.wake, Keep::all);
    append(body, 1000);
    CHECK(body.is_whole_in_memory());
    append(body, 300'000);
    CHECK_FALSE(body.is_whole_in_memory());
    Spool passed(*bench.parts, kBucket, *bench.wake, Keep::beginning);
    append(passed, 1000);
    CHECK_FALSE(passed.is_whole_in_memory());
}

TEST_CASE("a spool can stop keeping before it was read")
{
    SpoolBench bench(limits_of(kMega, kMega));
    {
        Spool spool(*bench.parts, kBucket, *bench.wake, Keep::all);
        while (spool.has_room()) {
            append(spool, 65536);
            bench.pump();
        }
        CHECK(spool.keeps_all());
        spool.keep_no_more();
        CHECK_FALSE(spool.keeps_all());
        std::uint64_t at = 0;
        pass_through(bench, spool, 99, 8 * kMega, at);
        drain(bench, spool, at);
    }
    check_all_given_back(bench);
}

TEST_CASE("a spool keeps the beginning of a body for as long as it is short")
{
    SpoolBench bench(limits_of(kMega, kMega));
    {
        Spool spool(*bench.parts, kBucket, *bench.wake, Keep::beginning);
        append(spool, 10000);
        Chain taken;
        CHECK(spool.take(taken, 4000) == 4000);
        CHECK(spool.keeps_all());
        spool.rewind();
        std::uint64_t at = 0;
        drain(bench, spool, at);
        CHECK(at == 10000);
        append(spool, Spool::kFree);
        CHECK_FALSE(spool.keeps_all());
        drain(bench, spool, at);
        CHECK(at == 10000 + Spool::kFree);
    }
    check_all_given_back(bench);
}

TEST_CASE("a disk that refuses is no error: bodies wait in memory")
{
    SpoolBench bench(limits_of(0, 64 * kMega));
    struct sigaction ignore = {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGXFSZ, &ignore, nullptr);
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    rlimit small = before;
    small.rlim_cur = 300'000; // EFBIG past this
    ::setrlimit(RLIMIT_FSIZE, &small);
    {
        Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
        std::uint64_t at = 0;
        for (int i = 0; i < 20; ++i) {
            append(spool, 65536);
            bench.pump();
        }
        CHECK_FALSE(spool.has_room());
        drain(bench, spool, at);
        CHECK(spool.has_room());
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    check_all_given_back(bench);
}

TEST_CASE("a folder that takes no files is no error, however much passes")
{
    SpoolBench bench(limits_of(0, 64 * kMega));
    bench.parts->directory = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    {
        Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
        std::uint64_t at = 0;
        append(spool, 300'000);
        while (spool.size() < 40 * kMega) { // never quite drained, past the step in which file space is released
            append(spool, 65536);
            take(spool, at, 65536);
        }
        drain(bench, spool, at);
    }
    check_all_given_back(bench);
    ::close(bench.parts->directory);
}

TEST_CASE("a spool may go while its file jobs are under way")
{
    SpoolBench bench(limits_of(0, 64 * kMega));
    for (int i = 0; i < 20; ++i) {
        Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
        append(spool, 400'000);
        if (i % 2 == 0) {
            bench.pump();
            std::uint64_t at = 0;
            take(spool, at, 1000); // begins a read
        }
    }
    check_all_given_back(bench);
    for (int i = 0; i < 100 && bench.value(shm::Metric::file_jobs) != 0; ++i) {
        bench.pump();
    }
    CHECK(bench.value(shm::Metric::file_jobs) == 0);
}

TEST_CASE("a budget counts all living rows, and each client alone")
{
    auto arena = std::move(*shm::Arena::make());
    shm::Regions& regions = arena.regions();
    regions.rows[0].pid = 1;
    regions.rows[1].pid = 2;
    SpoolBudget here(regions, 0, limits_of(100'000, 50'000, 80'000));
    SpoolBudget there(regions, 1, limits_of(100'000, 50'000, 80'000));
    {
        SpoolAccount a(here, 1);
        SpoolAccount b(there, 1);
        a.set(Storage::memory, 40'000);
        b.set(Storage::memory, 30'000);
        CHECK(there.has_room(Storage::memory, 2, 30'000));
        CHECK_FALSE(there.has_room(Storage::memory, 2, 30'001));
        CHECK_FALSE(here.has_room(Storage::memory, 1, 20'000)); // the client's share
        CHECK(here.has_room(Storage::disk, 2, 50'000));
        CHECK_FALSE(here.has_room(Storage::disk, 2, 50'001));
        regions.rows[1].pid = 0; // died
        CHECK(here.has_room(Storage::memory, 2, 60'000));
        b.set(Storage::memory, 10);
        b.set(Storage::memory, 1);
        a.set(Storage::disk, 1025);
        CHECK(regions.rows[0].client_spool_kib[1].load() == 40 + 2);
    }
    CHECK(regions.rows[0].client_spool_kib[1].load() == 0);
    CHECK(regions.rows[1].client_spool_kib[1].load() == 0);
    CHECK(regions.rows[0].value(shm::Metric::spool_memory_bytes) == 0);
    CHECK(regions.rows[0].value(shm::Metric::spool_disk_bytes) == 0);
    here.mark_disk_bad(100);
    CHECK_FALSE(here.is_disk_good(99));
    CHECK(here.is_disk_good(100));
}

TEST_CASE("a budget counts requests beside bodies, and not those of a trusted proxy as one client's")
{
    constexpr std::uint64_t kKib = 1024;
    auto arena = std::move(*shm::Arena::make());
    shm::Regions& regions = arena.regions();
    regions.rows[0].pid = 1;
    regions.rows[1].pid = 2;
    config::Budget limits = limits_of(100 * kKib, 0, 80 * kKib);
    limits.requests_bytes = 2000 * kKib;
    limits.requests_per_client_bytes = 1000 * kKib;
    SpoolBudget here(regions, 0, limits);
    SpoolBudget there(regions, 1, limits);
    SpoolAccount client(here, 1);
    SpoolAccount elsewhere(there, 1);
    SpoolAccount proxy(there, SpoolBudget::kNoClient);
    client.set(Storage::requests, 600 * kKib);
    CHECK(here.has_room(Storage::memory, 1, 80 * kKib)); // its bodies are another matter
    CHECK(client.has_room(Storage::requests, 400 * kKib));
    CHECK_FALSE(client.has_room(Storage::requests, 401 * kKib));
    CHECK(elsewhere.has_room(Storage::requests, 401 * kKib)); // its worker holds nothing for it yet: not all rows are looked at
    elsewhere.set(Storage::requests, 8 * kKib);
    CHECK_FALSE(elsewhere.has_room(Storage::requests, 393 * kKib));
    proxy.set(Storage::requests, 1300 * kKib);
    CHECK(proxy.has_room(Storage::requests, 92 * kKib)); // of all
    CHECK_FALSE(proxy.has_room(Storage::requests, 93 * kKib));
    CHECK(regions.rows[1].value(shm::Metric::h2_request_bytes) == 1308 * kKib);
    proxy.set(Storage::requests, 0);
    elsewhere.set(Storage::requests, 0);
    client.set(Storage::requests, 0);
    CHECK(regions.rows[0].client_request_kib[1].load() == 0);
    CHECK(regions.rows[1].value(shm::Metric::h2_request_bytes) == 0);
}

TEST_CASE("spool: where thousands of requests hold buffers, each may have little")
{
    static shm::Arena arena = std::move(*shm::Arena::make()); // what counts blocks stays known to them
    set_block_metrics(arena.regions().rows[0]);
    SpoolBench bench(limits_of(0, 0));
    Spool spool(*bench.parts, kBucket, *bench.wake, Keep::until_taken);
    CHECK(spool.room(0, 64 << 10) == 16 << 10);
    CHECK(BlockRef::make()->capacity > 15 << 10);
    {
        const BlockRef others = BlockRef::make(33 * kMega);
        CHECK(buffers_are_scarce());
        CHECK(spool.room(0, 64 << 10) == 4 << 10);
        CHECK(spool.room(0, 2 << 10) == 2 << 10);
        CHECK(BlockRef::make()->capacity < 4 << 10);
        CHECK(BlockRef::make(20 << 10)->capacity >= 20 << 10);
    }
    CHECK_FALSE(buffers_are_scarce());
    CHECK(spool.room(0, 64 << 10) == 16 << 10);
    bench.budget->set_limits(limits_of(64 * kMega, 0));
    const BlockRef within = BlockRef::make(90 * kMega);
    CHECK_FALSE(buffers_are_scarce());
    set_plenty(UINT64_MAX);
}
