// SPDX-License-Identifier: Apache-2.0
#include "common/shm/arena.h"
#include "common/shm/server_health.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>

using namespace ladle;
using namespace std::chrono_literals;

namespace {

struct Checked {
    Checked() : arena(std::move(*shm::Arena::make())), health(arena.regions().servers.entries[0].health) {}
    /// 'g' = good, 'b' = bad; the verdicts after each: '?', 'u', 'd'; upper case where it has changed.
    std::string verdicts(const std::string& results)
    {
        std::string out;
        for (const char result : results) {
            now += 1'000'000'000;
            const bool has_changed =
                shm::add_check(health, result == 'g' ? shm::CheckEnd::good : shm::CheckEnd::refused, counts, now);
            const char verdict = "?ud"[static_cast<int>(health.verdict.load())];
            out += has_changed ? static_cast<char>(verdict - 'a' + 'A') : verdict;
        }
        return out;
    }

    shm::Arena arena;
    shm::ServerHealth& health;
    shm::CheckCounts counts{2, 3};
    std::uint64_t now = 5'000'000'000;
};

} // namespace

TEST_CASE("a server goes down after `fall` bad results in a row and comes back after `rise` good ones")
{
    CHECK(Checked().verdicts("gbbgbbb") == "uuuuuuD");
    CHECK(Checked().verdicts("gbbbgbgg") == "uuuDdddU");
    CHECK(Checked().verdicts("bbb") == "??D"); // before the first that counts, it is not known to be bad
    CHECK(Checked().verdicts("bbgbbb") == "??uuuD");
    Checked once;
    once.counts = {1, 1};
    CHECK(once.verdicts("gbgb") == "uDUD");
}

TEST_CASE("a check that brings a server back ends its ejection and begins its slow start")
{
    Checked one;
    one.verdicts("bbb");
    one.health.out_until_ns = ~std::uint64_t{0};
    one.health.failures_in_row = 7;
    one.verdicts("g");
    CHECK(one.health.out_until_ns == ~std::uint64_t{0});
    one.verdicts("g");
    CHECK(one.health.out_until_ns == 0);
    CHECK(one.health.failures_in_row == 0);
    CHECK(one.health.back_ns == one.now);
    CHECK(one.health.verdict_since_ns == one.now);
}

TEST_CASE("another check begins anew, the same one goes on")
{
    Checked one;
    shm::begin_check(one.health, 7);
    CHECK(one.verdicts("bb") == "??");
    shm::write_note(one.health.note, "connect: refused");
    shm::begin_check(one.health, 7);
    CHECK(one.verdicts("b") == "D");
    CHECK(shm::read_note(one.health.note) == "connect: refused");
    shm::begin_check(one.health, 9);
    CHECK(one.health.verdict == shm::Verdict::unknown);
    CHECK(shm::read_note(one.health.note).empty());
    CHECK(one.health.recent == 0);
    shm::write_note(one.health.note, std::string(1000, 'x'));
    CHECK(shm::read_note(one.health.note).size() == shm::kNoteWords * 8);
}

TEST_CASE("evidence is counted within its time only")
{
    Checked one;
    std::uint64_t now = 1'000'000'000'000;
    CHECK(shm::add_failure(one.health, 100, 10s, now).failures == 1);
    const shm::Evidence second = shm::add_failure(one.health, 104, 10s, now + 5'000'000'000);
    CHECK(second.failures == 2);
    CHECK(second.requests == 5);
    const shm::Evidence later = shm::add_failure(one.health, 200, 10s, now + 30'000'000'000);
    CHECK(later.failures == 1);
    CHECK(later.requests == 1);
    for (int i = 0; i < 100'000; ++i) {
        shm::add_failure(one.health, 201, 10s, now + 30'000'000'000);
    }
    CHECK(shm::add_failure(one.health, 201, 10s, now + 30'000'000'000).failures == 0xffff);
}

TEST_CASE("latency quantiles are right to within a fifth, from tenths of a millisecond to minutes")
{
    for (const auto time : {150us, 900us, 7000us, 80'000us, 1'500'000us, 60'000'000us}) {
        Checked one;
        CHECK(shm::latency_quantile(one.health, 50) == 0us);
        for (int i = 0; i < 100; ++i) {
            shm::add_latency(one.health, i < 95 ? time : time * 100);
        }
        CHECK(shm::latency_quantile(one.health, 50) >= time);
        CHECK(shm::latency_quantile(one.health, 90) <= time * 13 / 10);
        CHECK(shm::latency_quantile(one.health, 99) > time * (time > 10s ? 1 : 20));
    }
    Checked none;
    shm::add_latency(none.health, 0ns);
    shm::add_latency(none.health, -5ns);
    shm::add_latency(none.health, std::chrono::hours(1000));
    CHECK(shm::latency_quantile(none.health, 50) == 100us);
}

TEST_CASE("a server's place that is given back keeps nothing of its health")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerTable& table = arena->regions().servers;
    const auto index = static_cast<std::uint32_t>(shm::find_or_assign_server(table, "app", "10.0.0.1:80"));
    shm::ServerHealth& health = table.entries[index].health;
    health.order = shm::ServerOrder::down;
    health.verdict = shm::Verdict::down;
    health.out_until_ns = 5;
    health.weight = 7;
    shm::add_latency(health, 1s);
    health.recent_times.counts[5] = 100'000;
    health.hedges = 7;
    shm::free_server(table, index);
    CHECK(health.order == shm::ServerOrder::none);
    CHECK(health.verdict == shm::Verdict::unknown);
    CHECK(health.out_until_ns == 0);
    CHECK(health.weight == 0);
    CHECK(shm::latency_quantile(health, 50) == 0us);
    CHECK(shm::time_within(health.recent_times, 50) == 0us);
    CHECK(health.hedges == 0);
}

TEST_CASE("an address that checks have found dead is not handed out while another one lives")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerEntry& entry = arena->regions().servers.entries[0];
    const auto address = [](std::uint8_t fill) {
        shm::ServerAddress made{};
        made.family = AF_INET;
        made.address.fill(fill);
        return made;
    };
    REQUIRE(shm::publish_addresses(entry, {address(1), address(2)}, shm::NameState::resolved, 1));
    const std::uint32_t version = entry.address_version;
    REQUIRE(shm::publish_down(entry, 0b01));
    CHECK(entry.address_version == version + 1);
    std::vector<sockaddr_storage> out;
    REQUIRE(shm::read_addresses(entry, out));
    CHECK(out.size() == 1);
    // It stays so when the name is asked for again, in whatever order.
    REQUIRE(shm::publish_addresses(entry, {address(2), address(3), address(1)}, shm::NameState::resolved, 2));
    REQUIRE(shm::read_addresses(entry, out));
    CHECK(out.size() == 2);
    CHECK(shm::copy_addresses(entry).at(2).is_down == 1);
    REQUIRE(shm::publish_down(entry, 0b111));
    REQUIRE(shm::read_addresses(entry, out));
    CHECK(out.size() == 3); // better those than none
}
