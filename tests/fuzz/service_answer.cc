// SPDX-License-Identifier: Apache-2.0
// A DNS answer about a service (SRV): what is taken of it is in bounds and in order, and leads to host names; so are the places
// made of it.
#include "tests/fuzz/require.h"
#include "common/config/names.h"
#include "worker/caretaker/service_records.h"

#include <algorithm>
#include <tuple>
#include <vector>

using namespace ladle;

namespace {

void check_records(const worker::ServiceAnswer& answer)
{
    REQUIRE(answer.failure.empty() || answer.records.empty());
    REQUIRE(is_one_line(answer.failure));
    REQUIRE(answer.records.size() <= worker::kMostServiceRecords);
    REQUIRE(answer.left_out == 0 || answer.records.size() == worker::kMostServiceRecords);
    REQUIRE(answer.ttl.count() >= 0);
    for (const worker::ServiceRecord& record : answer.records) {
        REQUIRE(record.port != 0);
        REQUIRE(config::is_host_name(record.target) && !record.target.ends_with('.'));
    }
    REQUIRE(std::ranges::is_sorted(answer.records, {}, [](const worker::ServiceRecord& one) {
        return std::tuple(one.priority, 65535 - one.weight);
    }));
}

/// The targets have none, one or more addresses than there is room for, by what they are called.
void check_places(const std::vector<worker::ServiceRecord>& records)
{
    const std::vector<shm::ServerAddress> none;
    const std::vector<shm::ServerAddress> one(1);
    const std::vector<shm::ServerAddress> many(shm::kMaxAddresses + 1);
    const auto find = [&](const std::string& target) {
        const std::vector<shm::ServerAddress>* const choices[] = {nullptr, &none, &one, &many};
        return worker::Target{target.size() % 5 != 0, choices[static_cast<unsigned char>(target.front()) % 4]};
    };
    const worker::ServicePlaces places = worker::places_of(records, find);
    REQUIRE(places.addresses.size() <= shm::kMaxAddresses);
    for (const shm::ServerAddress& place : places.addresses) {
        REQUIRE(place.port != 0 && place.weight != 0);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const worker::ServiceAnswer answer = worker::read_service_answer({bytes, size});
    check_records(answer);
    check_places(answer.records);
    return 0;
}
