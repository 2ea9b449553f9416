// SPDX-License-Identifier: Apache-2.0
#include "worker/mirror/copies.h"

#include "common/shm/arena.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

using namespace ladle;
using worker::Copies;

namespace {

struct CopiesBench {
    shm::Arena arena = std::move(*shm::Arena::make());
    std::unique_ptr<loop::Loop> loop = std::move(*loop::Loop::make());
    shm::ProcessRow& row = arena.regions().rows[0];
    Copies copies{*loop, row, 42};

    int draws_of(std::uint32_t share, int times)
    {
        int drawn = 0;
        for (int i = 0; i < times; ++i) {
            drawn += copies.draw(share) ? 1 : 0;
        }
        return drawn;
    }
};

/// One that ends at once, or never.
class Chore final : public worker::Errand {
public:
    enum class Ends : std::uint8_t { at_once, never };
    Chore(CopiesBench& bench, Ends ends, int& alive) : copies_(bench.copies), wake_(*bench.loop), ends_(ends), alive_(alive)
    {
        ++alive_;
    }
    ~Chore() override { --alive_; }
    bool is_awaited() const noexcept override { return false; }

private:
    loop::Task<void> run() override
    {
        if (ends_ == Ends::never) {
            co_await wake_.wait();
        }
        copies_.retire(*this);
    }
    Copies& copies_;
    loop::Wake wake_;
    Ends ends_;
    int& alive_;
};

} // namespace

TEST_CASE("mirror: a share is that part of the requests, none is never and all is always")
{
    CopiesBench bench;
    CHECK(bench.draws_of(0, 100'000) == 0);
    CHECK(bench.draws_of(100, 100'000) == 100'000);
    for (const std::uint32_t share : {1u, 10u, 50u, 99u}) {
        const int drawn = bench.draws_of(share, 100'000);
        CHECK(std::abs(drawn - static_cast<int>(share) * 1000) < 700); // four standard deviations of a half
    }
}

TEST_CASE("mirror: what is drawn follows no pattern that a client's requests could meet")
{
    CopiesBench bench;
    int both = 0;
    bool last = false;
    for (int i = 0; i < 100'000; ++i) {
        const bool drawn = bench.copies.draw(50);
        both += drawn && last ? 1 : 0;
        last = drawn;
    }
    CHECK(std::abs(both - 25'000) < 800);
}

TEST_CASE("mirror: neither copies nor bytes of bodies go past their limits, and both come back")
{
    CopiesBench bench;
    config::MirrorLimits limits;
    limits.requests = 3;
    limits.body_bytes = 1000;
    std::optional<Copies::Place> first(std::in_place, bench.copies, 600);
    CHECK(bench.row.value(shm::Metric::mirror_in_work) == 1);
    CHECK(bench.row.value(shm::Metric::mirror_body_bytes) == 600);
    CHECK(bench.copies.has_room(limits, 400));
    CHECK_FALSE(bench.copies.has_room(limits, 401));
    CHECK_FALSE(bench.copies.has_room(limits, UINT64_MAX));
    std::optional<Copies::Place> second(std::in_place, bench.copies, 0);
    std::optional<Copies::Place> third(std::in_place, bench.copies, 0);
    CHECK_FALSE(bench.copies.has_room(limits, 0));
    limits.requests = 10;
    limits.body_bytes = 500; // as after a reload: less than is held
    CHECK_FALSE(bench.copies.has_room(limits, 0));
    first.reset();
    CHECK(bench.copies.has_room(limits, 500));
    second.reset();
    third.reset();
    CHECK(bench.row.value(shm::Metric::mirror_in_work) == 0);
    CHECK(bench.row.value(shm::Metric::mirror_body_bytes) == 0);
}

TEST_CASE("mirror: a copy that has ended is destroyed outside its own code, one that hangs with its owner")
{
    int alive = 0;
    CopiesBench bench;
    bench.copies.start(std::make_unique<Chore>(bench, Chore::Ends::never, alive));
    bench.copies.start(std::make_unique<Chore>(bench, Chore::Ends::at_once, alive));
    CHECK(alive == 2);
    loop::Timer limit;
    REQUIRE(limit.start(*bench.loop, std::chrono::milliseconds(1), loop::Timer::Repeat::once,
                        [](void* self) { static_cast<loop::Loop*>(self)->stop(); }, bench.loop.get()));
    bench.loop->run();
    CHECK(alive == 1);
    bench.copies.clear();
    CHECK(alive == 0);
}
