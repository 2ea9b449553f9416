// SPDX-License-Identifier: Apache-2.0
#include "common/os/memory_file.h"
#include "common/shm/cache_snapshot.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <sys/mman.h>

#include <random>

using namespace cache_testing;

namespace {

constexpr shm::CacheOptions kOptions{8u << 20, 0, 42};

os::Fd make_file(const std::string& content)
{
    os::Fd file(::memfd_create("snapshot", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
}

std::string save_some(std::uint64_t objects)
{
    auto arena = *shm::CacheArena::make(kOptions);
    shm::CacheStore store(arena, 3);
    for (std::uint64_t i = 0; i < objects; ++i) {
        shm::CacheObject object;
        const std::string url = "http://a/" + std::to_string(i);
        object.name = store.name(url);
        REQUIRE(store.store(object, make_body(i, 300)));
    }
    shm::CacheObject object;
    object.name = store.name("http://under-way/");
    auto fill = store.begin(object);
    REQUIRE(fill->publish());
    (void)store.fills().claim(object.name.hash, 1);
    REQUIRE(store.purges().purge_url("http://a/0", shm::PurgeKind::hard));
    os::Fd file(::memfd_create("snapshot", MFD_CLOEXEC));
    REQUIRE(shm::save_cache(arena, file.get()));
    return *os::read_whole(file.get(), 64u << 20);
}

} // namespace

TEST_CASE("cache: a snapshot brings back the objects and the purges, and nothing of the processes")
{
    const os::Fd file = make_file(save_some(1000));
    auto arena = shm::load_cache(file.get(), {8u << 20, 0, 0});
    REQUIRE(arena);
    CHECK(arena->seed() == 42);
    shm::CacheStore store(*arena, 0);
    CHECK_FALSE(store.find(store.name("http://a/0")).view);
    for (std::uint64_t i = 1; i < 1000; ++i) {
        auto found = store.find(store.name("http://a/" + std::to_string(i)));
        REQUIRE(found.view);
        REQUIRE(read_body(found.view) == make_body(i, 300));
    }
    CHECK_FALSE(store.find(store.name("http://under-way/")).view);
    CHECK(store.fills().claimed() == 0);
    store.sweep();
    CHECK(store.counts().objects == 1000);
    CHECK(store.check() == "");
    auto again = shm::CacheArena::adopt(os::Fd(::dup(arena->fd())));
    CHECK(again);
}

TEST_CASE("cache: a damaged snapshot, or one of other sizes, is not taken")
{
    const std::string whole = save_some(50);
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) {
        std::string damaged = whole;
        if (i % 4 == 0) {
            damaged.resize(random() % damaged.size());
        } else {
            const std::size_t at = i % 4 == 1 ? random() % 200 : random() % damaged.size();
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
        }
        const os::Fd file = make_file(damaged);
        REQUIRE_FALSE(shm::load_cache(file.get(), kOptions));
    }
    CHECK_FALSE(shm::load_cache(make_file(whole).get(), {16u << 20, 0, 0}));
    CHECK_FALSE(shm::load_cache(make_file(whole).get(), {8u << 20, 1u << 30, 0}));
    CHECK_FALSE(shm::load_cache(make_file("").get(), kOptions));
    CHECK(shm::load_cache(make_file(whole).get(), kOptions));
}
