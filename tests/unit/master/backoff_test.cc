// SPDX-License-Identifier: Apache-2.0
#include "master/backoff.h"

#include <doctest/doctest.h>

using ladle::master::Backoff;
using ladle::master::Siblings;

namespace {
constexpr Backoff::Nanos kSecond = 1'000'000'000;
constexpr Backoff::Nanos kStart = 1000 * kSecond;
} // namespace

TEST_CASE("single crashes are replaced at once")
{
    Backoff backoff;
    Backoff::Nanos now = kStart;
    for (int i = 0; i < 20; ++i, now += 3 * kSecond) {
        backoff.on_crash(now, Siblings::none);
        CHECK(backoff.not_before() <= now);
        CHECK_FALSE(backoff.is_crash_loop(now));
    }
    CHECK(backoff.total() == 20);
}

TEST_CASE("a crash loop without siblings waits 1 s, 2 s, 4 s … 30 s, and is forgotten after a calm minute")
{
    Backoff backoff;
    Backoff::Nanos now = kStart;
    for (int i = 0; i < 4; ++i) {
        backoff.on_crash(now, Siblings::none);
    }
    CHECK_FALSE(backoff.is_crash_loop(now));
    for (const Backoff::Nanos seconds : {1u, 2u, 4u, 8u, 16u, 30u, 30u}) {
        backoff.on_crash(now, Siblings::none);
        CHECK(backoff.not_before() - now == seconds * kSecond);
        CHECK(backoff.is_crash_loop(now));
        now = backoff.not_before();
    }
    CHECK_FALSE(backoff.is_crash_loop(now + 61 * kSecond));
    backoff.on_crash(now + 61 * kSecond, Siblings::none);
    CHECK(backoff.not_before() <= now + 61 * kSecond);
}

TEST_CASE("while siblings serve, the wait stays short, but the loop is told")
{
    Backoff backoff;
    Backoff::Nanos now = kStart;
    for (int i = 0; i < 100; ++i, now += 100'000'000) {
        backoff.on_crash(now, Siblings::serve);
        CHECK(backoff.not_before() - now <= Backoff::kSpacing);
    }
    CHECK(backoff.is_crash_loop(now));
    CHECK_FALSE(backoff.is_crash_loop(now + 11 * kSecond));
}

TEST_CASE("a new configuration deserves a new try")
{
    Backoff backoff;
    for (int i = 0; i < 9; ++i) {
        backoff.on_crash(kStart, Siblings::none);
    }
    backoff.forgive();
    CHECK(backoff.not_before() == 0);
    CHECK_FALSE(backoff.is_crash_loop(kStart));
    CHECK(backoff.total() == 9);
}
