// SPDX-License-Identifier: Apache-2.0
#include "common/shm/arena.h"

#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

using namespace ladle;

TEST_CASE("counters of the dead are kept, gauges and flights are not")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::Regions& regions = arena->regions();
    const int first = shm::find_free_row(regions);
    REQUIRE(first == 0);
    regions.rows[0].pid = 10;
    CHECK(shm::find_free_row(regions) == 1);
    regions.rows[1].pid = 11;
    for (shm::ProcessRow* row : {&regions.rows[0], &regions.rows[1]}) {
        row->add(shm::Metric::requests, 5);
        row->add(shm::Metric::connections_open, 2);
        row->in_flight[3].store(4);
    }
    CHECK(shm::total(regions, shm::Metric::requests) == 10);
    CHECK(shm::in_flight(regions, 3) == 8);
    shm::retire_row(regions, 0);
    CHECK(shm::find_free_row(regions) == 0);
    CHECK(shm::total(regions, shm::Metric::requests) == 10);
    CHECK(shm::total(regions, shm::Metric::connections_open) == 2);
    CHECK(shm::in_flight(regions, 3) == 4);
    CHECK(regions.rows[0].value(shm::Metric::requests) == 0);
}

TEST_CASE("all rows can be taken, and no more")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    for (std::uint32_t i = 0; i < shm::kMaxProcesses; ++i) {
        arena->regions().rows[i].pid = 1;
    }
    CHECK(shm::find_free_row(arena->regions()) == -1);
}

TEST_CASE("the arena is shared with a child and can be adopted from its descriptor")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    const pid_t pid = ::fork();
    if (pid == 0) {
        arena->regions().rows[5].add(shm::Metric::requests, 42);
        ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
    auto adopted = shm::Arena::adopt(os::Fd(::dup(arena->fd())));
    REQUIRE(adopted);
    CHECK(adopted->regions().rows[5].value(shm::Metric::requests) == 42);
    CHECK(adopted->regions().header.seed == arena->regions().header.seed);
}

TEST_CASE("an arena of another layout is not adopted")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    arena->regions().header.abi_hash ^= 1u;
    CHECK_FALSE(shm::Arena::adopt(os::Fd(::dup(arena->fd()))));
    CHECK_FALSE(shm::Arena::adopt(os::Fd(::dup(0))));
}
