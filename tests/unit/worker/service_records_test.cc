// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/service_records.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <vector>

using namespace ladle::worker;
using ladle::shm::ServerAddress;

namespace {

std::string two(unsigned value)
{
    return {static_cast<char>(value >> 8 & 0xff), static_cast<char>(value & 0xff)};
}

std::string encoded(std::string_view name)
{
    std::string out;
    while (!name.empty()) {
        const std::string_view label = name.substr(0, name.find('.'));
        out += static_cast<char>(label.size()) + std::string(label);
        name.remove_prefix(std::min(label.size() + 1, name.size()));
    }
    return out + '\0';
}

/// One record of the name that the question is about.
std::string record_of(unsigned type, unsigned ttl, const std::string& data)
{
    return two(0xc00c) + two(type) + two(1) + two(ttl >> 16) + two(ttl & 0xffff) + two(static_cast<unsigned>(data.size())) + data;
}

std::string srv(unsigned priority, unsigned weight, unsigned port, std::string_view target, unsigned ttl = 60)
{
    return record_of(33, ttl, two(priority) + two(weight) + two(port) + encoded(target));
}

std::string message_of(const std::vector<std::string>& records)
{
    std::string out = two(1) + two(0x8180) + two(1) + two(static_cast<unsigned>(records.size())) + two(0) + two(0) +
                      encoded("_http._tcp.app.test") + two(33) + two(1);
    for (const std::string& one : records) {
        out += one;
    }
    return out;
}

ServiceAnswer read(const std::string& message)
{
    return read_service_answer({reinterpret_cast<const unsigned char*>(message.data()), message.size()});
}

ServerAddress host_address(std::uint8_t last)
{
    ServerAddress address{};
    address.family = AF_INET;
    address.address = {127, 0, 0, last};
    return address;
}

/// What is known of targets; those that are not in it have yet to be answered.
using Known = std::map<std::string, std::vector<ServerAddress>>;

ServicePlaces places(const std::vector<ServiceRecord>& records, const Known& known)
{
    return places_of(records, [&known](const std::string& target) {
        const auto found = known.find(target);
        return found == known.end() ? Target{} : Target{true, &found->second};
    });
}

} // namespace

TEST_CASE("a service's records are read by priority, then the heavier first, with the shortest TTL")
{
    const auto answer = read(message_of({record_of(5, 7, encoded("alias.test")), srv(20, 0, 83, "c.test"),
                                         srv(10, 1, 81, "a.test", 50), srv(10, 9, 82, "B.Test", 90),
                                         srv(10, 1, 81, "a.test", 50)}));
    CHECK(answer.failure == "");
    CHECK(answer.ttl.count() == 7);
    CHECK(answer.records == std::vector<ServiceRecord>{{10, 9, 82, "b.test"}, {10, 1, 81, "a.test"}, {20, 0, 83, "c.test"}});
}

TEST_CASE("records that lead nowhere are passed over; none that leads somewhere is a failure that says why")
{
    const auto some = read(message_of({srv(0, 0, 0, "noport.test"), srv(0, 0, 80, "bad name.test"), srv(0, 0, 80, "10.0.0.1"),
                                       srv(0, 0, 80, "a.test"), record_of(16, 1, "text")}));
    CHECK(some.records == std::vector<ServiceRecord>{{0, 0, 80, "a.test"}});
    CHECK(some.ttl.count() == 60); // that of the TXT record is not ours
    CHECK(read(message_of({srv(0, 0, 0, "")})).failure == "its SRV record says that there is no such service");
    CHECK(read(message_of({srv(0, 0, 0, "a.test")})).failure == "no SRV record that can be used");
    CHECK(read(message_of({})).failure == "no SRV record that can be used");
    CHECK(read(message_of({srv(0, 0, 80, "a.test", 0x80000000u)})).ttl.count() == 0);
}

TEST_CASE("a message that is cut anywhere, or whose lengths lie, is a failure")
{
    const std::string whole = message_of({srv(1, 2, 80, "a.test"), srv(1, 2, 81, "b.test")});
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CAPTURE(size);
        const std::vector<unsigned char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        const auto answer = read_service_answer(cut);
        CHECK(answer.failure != "");
        CHECK(answer.records.empty());
    }
    std::string lying = message_of({srv(1, 2, 80, "a.test")});
    lying[lying.size() - encoded("a.test").size() - 7] -= 1; // of the record's data
    CHECK(read(lying).failure == "its SRV records cannot be read");
    const auto behind_question = 12 + static_cast<unsigned>(encoded("_http._tcp.app.test").size()) + 4;
    const std::string loop = two(1) + two(2) + two(80) + two(0xc000 + behind_question + 12 + 6); // a name that points to itself
    CHECK(read(message_of({record_of(33, 60, loop)})).failure == "its SRV records cannot be read");
}

TEST_CASE("of many records those that come first are kept")
{
    std::vector<std::string> many;
    for (unsigned i = 0; i < 100; ++i) {
        many.push_back(srv(100 - i, 0, 80, "h" + std::to_string(i) + ".test"));
    }
    const auto answer = read(message_of(many));
    CHECK(answer.records.size() == kMostServiceRecords);
    CHECK(answer.left_out == 100 - kMostServiceRecords);
    CHECK(answer.records.front().target == "h99.test");
}

TEST_CASE("a service is where the lowest priority with an address is, and waits for answers that may change that")
{
    const std::vector<ServiceRecord> records = {{1, 0, 81, "a"}, {1, 0, 82, "b"}, {2, 0, 83, "c"}};
    const std::vector<ServerAddress> fourth = {host_address(4)};
    const auto all = places(records, {{"a", {host_address(1)}}, {"b", {host_address(2), host_address(3)}}, {"c", fourth}});
    REQUIRE(all.addresses.size() == 3);
    CHECK(all.addresses[0].port == 81);
    CHECK(all.addresses[2].port == 82);
    CHECK(all.addresses[2].address[3] == 3);
    CHECK_FALSE(all.is_open);
    const auto half = places(records, {{"a", {host_address(1)}}, {"c", {host_address(4)}}});
    CHECK(half.addresses.size() == 1);
    CHECK(half.is_open);
    const auto waiting = places(records, {{"a", {}}, {"c", {host_address(4)}}});
    CHECK(waiting.addresses.empty());
    CHECK(waiting.is_open);
    const auto fallen_back = places(records, {{"a", {}}, {"b", {}}, {"c", {host_address(4)}}});
    REQUIRE(fallen_back.addresses.size() == 1);
    CHECK(fallen_back.addresses[0].port == 83);
    CHECK_FALSE(fallen_back.is_open);
    const auto none = places(records, {{"a", {}}, {"b", {}}, {"c", {}}});
    CHECK(none.addresses.empty());
    CHECK_FALSE(none.is_open);
    CHECK(places({}, {}).addresses.empty());
}

TEST_CASE("a record's weight is shared by its target's addresses; records that name one place add up; a weight of 0 is hardly any")
{
    const Known known = {{"a", {host_address(1), host_address(2)}}, {"b", {host_address(1)}}, {"c", {host_address(3)}}};
    const auto out = places({{1, 6, 80, "a"}, {1, 2, 80, "b"}, {1, 0, 80, "c"}}, known).addresses;
    REQUIRE(out.size() == 3);
    CHECK(out[0].weight * 3 == out[1].weight * 5); // 3 + 2 beside 3
    CHECK(out[2].weight > 0);
    CHECK(out[2].weight * 100 < out[1].weight);
    const auto equal = places({{1, 0, 80, "a"}, {1, 0, 81, "c"}}, known).addresses;
    REQUIRE(equal.size() == 3);
    CHECK(equal[0].weight == equal[2].weight);
}

TEST_CASE("where there is not room for all addresses each record has its part of it, and its weight is that of its addresses")
{
    std::vector<ServerAddress> many;
    for (unsigned i = 0; i < 4000; ++i) {
        many.push_back(host_address(static_cast<std::uint8_t>(i)));
        many.back().address[2] = static_cast<std::uint8_t>(i >> 8);
    }
    const auto out = places({{1, 16, 80, "a"}, {1, 1, 80, "b"}}, {{"a", many}, {"b", {host_address(200)}}}).addresses;
    REQUIRE(out.size() == ladle::shm::kMaxAddresses);
    CHECK(out.back().address[3] == 200);
    CHECK(out.front().weight * 15 == out.back().weight * 16); // 16 of 15 addresses beside 1 of one
    const auto crowd = places({{1, 1, 81, "a"}, {1, 1, 82, "a"}, {1, 1, 83, "a"}}, {{"a", many}}).addresses;
    CHECK(crowd.size() == ladle::shm::kMaxAddresses);
    CHECK(std::ranges::count(crowd, 83, &ServerAddress::port) == 5);
}
