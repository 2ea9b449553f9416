// SPDX-License-Identifier: Apache-2.0
#include "common/loop/loop.h"

#include <doctest/doctest.h>

#include <time.h>

#include <string>
#include <utility>

namespace {

using ladle::loop::clock_now;
using ladle::loop::Loop;
using ladle::loop::Order;
using ladle::loop::Posted;

/// Work that notes its name, once for each post, and posts itself again `again` times.
struct Noted {
    Noted(Loop& of, std::string& to, char name_, int times = 0) : loop(of), log(to), name(name_), again(times) {}
    static void run(void* self)
    {
        auto& noted = *static_cast<Noted*>(self);
        noted.log += noted.name;
        const auto end = clock_now() + noted.lasts;
        while (clock_now() < end) {
        }
        if (noted.again-- > 0) {
            noted.work.post(noted.loop);
        } else if (noted.ends) {
            noted.loop.stop();
        }
    }
    Loop& loop;
    std::string& log;
    char name;
    int again;
    ladle::loop::Nanos lasts = 0;
    bool ends = false;
    Posted work{&Noted::run, this};
};

} // namespace

TEST_CASE("loop: patient work runs behind all other work of its turn")
{
    const auto loop = std::move(*Loop::make());
    std::string log;
    Noted patient(*loop, log, 'p', 1);
    Noted other(*loop, log, 'o', 2);
    patient.work.set_order(Order::patient);
    other.ends = true;
    patient.work.post(*loop);
    other.work.post(*loop);
    loop->run();
    CHECK(log == "opopo");
}

TEST_CASE("loop: work of the order `last` runs behind what its turn has, and before patient work")
{
    const auto loop = std::move(*Loop::make());
    std::string log;
    Noted patient(*loop, log, 'p', 2);
    Noted last(*loop, log, 'l', 2);
    Noted first(*loop, log, 'f', 3);
    patient.work.set_order(Order::patient);
    last.work.set_order(Order::last);
    first.ends = true;
    for (Noted* noted : {&patient, &last, &first}) {
        noted->work.post(*loop);
    }
    loop->run();
    CHECK(log == "flpflpflpf");
}

TEST_CASE("loop: of patient work that takes long one piece a turn is done, in order, and other work has its turns")
{
    const auto loop = std::move(*Loop::make());
    std::string log;
    Noted other(*loop, log, 'o', 3);
    other.ends = true;
    Noted slow_a(*loop, log, 'a', 1);
    Noted slow_b(*loop, log, 'b');
    for (Noted* slow : {&slow_a, &slow_b}) {
        slow->lasts = 1'000'000;
        slow->work.set_order(Order::patient);
        slow->work.post(*loop);
    }
    other.work.post(*loop);
    loop->run();
    CHECK(log == "oaoboao");
}

TEST_CASE("loop: where there is nothing but too much patient work, the loop sleeps between its turns")
{
    const auto loop = std::move(*Loop::make());
    std::string log;
    Noted endless(*loop, log, 'p', 100);
    endless.lasts = 300'000;
    endless.ends = true;
    endless.work.set_order(Order::patient);
    const auto cpu_now = [] {
        timespec t{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return static_cast<ladle::loop::Nanos>(t.tv_sec) * 1'000'000'000u + static_cast<ladle::loop::Nanos>(t.tv_nsec);
    };
    const auto begun = clock_now();
    const auto cpu_begun = cpu_now();
    endless.work.post(*loop);
    loop->run();
    CHECK(cpu_now() - cpu_begun < (clock_now() - begun) * 8 / 10); // 300 µs of work, 200 of rest
}

TEST_CASE("loop: patient work that was cancelled does not run")
{
    const auto loop = std::move(*Loop::make());
    std::string log;
    Noted patient(*loop, log, 'p');
    Noted other(*loop, log, 'o', 2);
    other.ends = true;
    patient.work.set_order(Order::patient);
    patient.work.post(*loop);
    patient.work.cancel();
    other.work.post(*loop);
    loop->run();
    CHECK(log == "ooo");
}
